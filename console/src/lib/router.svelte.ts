/* The addresses: `/`, `/houses/ID`, `/meters`, `/network`, `/security` and below it `/incidents/N` and
   `/packets/N`. Plain anchors stay anchors. */
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
export const isNetwork = (path: string): boolean => path === '/network';
export const isSecurity = (path: string): boolean => path === '/security' || path.startsWith('/security/');

/** What the page of security has open. */
export interface Opened {
  kind: 'incidents' | 'packets';
  id: number;
}
export const openedOf = (path: string): Opened | null => {
  const match = /^\/security\/(incidents|packets)\/(\d{1,15})$/.exec(path);
  return match ? { kind: match[1] as Opened['kind'], id: Number(match[2]) } : null;
};
export const open = (what: Opened | null): void => go(what ? `/security/${what.kind}/${what.id}` : '/security');
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
