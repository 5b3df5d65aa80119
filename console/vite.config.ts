import { defineConfig, type Plugin } from 'vite';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

/**
 * Writes .br and .gz next to every text file, so that the binary embeds and serves them as they
 * are. On disk, after everything is written: in generateBundle placeholders are not replaced yet.
 */
const precompress = (): Plugin => ({
  name: 'precompress',
  apply: 'build',
  enforce: 'post',
  writeBundle: {
    order: 'post',
    handler({ dir }) {
      // The Open Font License asks that its text goes wherever the font goes.
      copyFileSync('node_modules/@fontsource-variable/inter/LICENSE', `${dir}/font-license.txt`);
      for (const name of readdirSync(dir!, { recursive: true, encoding: 'utf8' })) {
        if (!/\.(js|css|html|svg|txt)$/.test(name)) continue;
        const raw = readFileSync(`${dir}/${name}`);
        const best = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
        writeFileSync(`${dir}/${name}.br`, brotliCompressSync(raw, best));
        writeFileSync(`${dir}/${name}.gz`, gzipSync(raw, { level: 9 }));
      }
    },
  },
});

export default defineConfig({
  plugins: [svelte(), precompress()],
  server: { proxy: { '/api': { target: 'http://127.0.0.1:8080', ws: true } } },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
