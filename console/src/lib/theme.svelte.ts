/* Light or dark: the operator's last choice on this machine, else the system's. */
export type Theme = 'light' | 'dark';

const preferred = (): Theme => {
  const kept = localStorage.getItem('theme');
  if (kept === 'light' || kept === 'dark') return kept;
  return matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark';
};

export const theme = $state({ is: preferred() });
document.documentElement.dataset.theme = theme.is;

export function switchTheme(): void {
  theme.is = theme.is === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = theme.is;
  localStorage.setItem('theme', theme.is);
}
