/* Three addresses: `/`, `/houses/ID` and `/meters`. Plain anchors stay anchors. */
export const route = $state({ path: location.pathname });

const sync = () => {
  route.path = location.pathname;
};
addEventListener('popstate', sync);

export function go(to: string): void {
  if (to === location.pathname) return;
  history.pushState(null, '', to);
  sync();
}

export const houseOf = (path: string): string | null => {
  const match = /^\/houses\/([^/]+)$/.exec(path);
  if (!match?.[1]) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return match[1];
  }
};
export const isMeters = (path: string): boolean => path === '/meters';
export const select = (id: string | null): void =>
  go(id === null ? '/' : `/houses/${encodeURIComponent(id)}`);

addEventListener('click', event => {
  const anchor = (event.target as Element).closest?.('a');
  if (!anchor || event.defaultPrevented || event.button) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || anchor.target) return;
  if (anchor.origin !== location.origin || anchor.hash) return;
  event.preventDefault();
  go(anchor.pathname);
});
