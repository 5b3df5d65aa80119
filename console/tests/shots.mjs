// Takes pictures of every view in both themes: node tests/shots.mjs URL FOLDER
import { startBrowser } from './program.mjs';

const [url, folder] = process.argv.slice(2);
const browser = await startBrowser();
for (const theme of ['light', 'dark']) {
  const page = await browser.context.newPage();
  await page.addInitScript(name => localStorage.setItem('theme', name), theme);
  for (const [name, path] of [['overview', ''], ['house', 'houses/h1']]) {
    await page.goto(url + path);
    await page.getByTestId('total').waitFor();
    await page.waitForTimeout(900);
    await page.screenshot({ path: `${folder}/${name}-${theme}.png` });
  }
  await page.close();
}
await browser.stop();
