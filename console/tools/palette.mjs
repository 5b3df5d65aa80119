// Checks the design tokens: WCAG contrast, and alarm colours under simulated colour-vision deficiency.
// Machado/Oliveira/Fernandes (2009) severity-1.0 matrices on linear RGB, difference by CIEDE2000.
import fs from 'node:fs';
const hex = h => [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16) / 255);
const lin = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const lum = h => { const [r, g, b] = hex(h).map(lin); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
export const contrast = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const CVD = {
  normal: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  protan: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
  deutan: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881],
  tritan: [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900],
};
const lab = rgb => { const [r, g, b] = rgb; const X = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047, Y = 0.2126729 * r + 0.7151522 * g + 0.072175 * b, Z = (0.0193339 * r + 0.119192 * g + 0.9503041 * b) / 1.08883; const f = t => t > 216 / 24389 ? Math.cbrt(t) : (24389 / 27 * t + 16) / 116; return [116 * f(Y) - 16, 500 * (f(X) - f(Y)), 200 * (f(Y) - f(Z))]; };
const sim = (h, k) => { const v = hex(h).map(lin), m = CVD[k]; return [0, 3, 6].map(i => Math.min(1, Math.max(0, m[i] * v[0] + m[i + 1] * v[1] + m[i + 2] * v[2]))); };
function de2000([L1, a1, b1], [L2, a2, b2]) { const r = Math.PI / 180, C1 = Math.hypot(a1, b1), C2 = Math.hypot(a2, b2), Cm = (C1 + C2) / 2, G = 0.5 * (1 - Math.sqrt(Cm ** 7 / (Cm ** 7 + 25 ** 7))); const ap1 = a1 * (1 + G), ap2 = a2 * (1 + G), c1 = Math.hypot(ap1, b1), c2 = Math.hypot(ap2, b2); const h = (a, b) => { let t = Math.atan2(b, a) / r; return t < 0 ? t + 360 : t; }; const h1 = h(ap1, b1), h2 = h(ap2, b2); let dh = h2 - h1; if (c1 * c2 === 0) dh = 0; else if (dh > 180) dh -= 360; else if (dh < -180) dh += 360; const dL = L2 - L1, dC = c2 - c1, dH = 2 * Math.sqrt(c1 * c2) * Math.sin(dh / 2 * r), Lm = (L1 + L2) / 2, cm = (c1 + c2) / 2; let hm = h1 + h2; if (c1 * c2 !== 0) { if (Math.abs(h1 - h2) > 180) hm += hm < 360 ? 360 : -360; hm /= 2; } const T = 1 - .17 * Math.cos((hm - 30) * r) + .24 * Math.cos(2 * hm * r) + .32 * Math.cos((3 * hm + 6) * r) - .2 * Math.cos((4 * hm - 63) * r); const SL = 1 + .015 * (Lm - 50) ** 2 / Math.sqrt(20 + (Lm - 50) ** 2), SC = 1 + .045 * cm, SH = 1 + .015 * cm * T, RT = -2 * Math.sqrt(cm ** 7 / (cm ** 7 + 25 ** 7)) * Math.sin(60 * Math.exp(-(((hm - 275) / 25) ** 2)) * r); return Math.sqrt((dL / SL) ** 2 + (dC / SC) ** 2 + (dH / SH) ** 2 + RT * (dC / SC) * (dH / SH)); }
const css = fs.readFileSync(new URL('../src/styles/tokens.css', import.meta.url), 'utf8');
const theme = sel => Object.fromEntries([...css.slice(css.indexOf(sel)).split('}')[0].matchAll(/--([\w-]+):\s*(#[0-9a-fA-F]{6})/g)].map(m => [m[1], m[2]]));
let bad = 0; const need = (ok, s) => { if (!ok) bad++; console.log((ok ? '  ok  ' : ' FAIL ') + s); };
for (const [name, sel] of [['light', '[data-theme="light"]'], ['dark', '[data-theme="dark"]']]) {
  const t = theme(sel); console.log(`\n== ${name}`);
  for (const bg of ['chrome', 'canvas', 'panel', 'raised']) for (const [fg, min] of [['ink-1', 7], ['ink-2', 4.5], ['ink-3', 4.5], ['live', 4.5], ['accent', 4.5], ['hot', 3], ['dead', 3], ['good', 4.5]]) { const c = contrast(t[fg], t[bg]); need(c >= min, `${fg} on ${bg} ${c.toFixed(2)} (≥${min})`); }
  for (const p of [1, 2, 3, 4]) { const c = contrast(t[`p${p}`], t[`p${p}-ink`]); need(c >= 4.5, `digit on p${p} ${c.toFixed(2)}`); const o = Math.max(contrast(t[`p${p}`], t.panel), contrast(t['badge-line'], t.panel)); need(o >= 3, `badge p${p} edge on panel ${o.toFixed(2)}`); need(contrast(t[`p${p}-text`], t.panel) >= 4.5, `p${p}-text on panel ${contrast(t[`p${p}-text`], t.panel).toFixed(2)}`); }
  { const c = contrast(t['lcd-ink'], t.lcd); need(c >= 7, `lcd-ink on lcd ${c.toFixed(2)} (≥7)`); }
  need(contrast(t['on-accent'], t['accent-fill']) >= 4.5, `on-accent/accent-fill ${contrast(t['on-accent'], t['accent-fill']).toFixed(2)}`);
  for (const k of Object.keys(CVD)) { const row = []; let min = 99; for (let i = 1; i <= 4; i++) for (let j = i + 1; j <= 4; j++) { const d = de2000(lab(sim(t[`p${i}`], k)), lab(sim(t[`p${j}`], k))); min = Math.min(min, d); row.push(`${i}-${j}:${d.toFixed(0)}`); } need(min >= 15, `alarm ΔE00 ${k.padEnd(6)} ${row.join(' ')} min ${min.toFixed(1)}`); }
}
process.exit(bad ? 1 : 0);
