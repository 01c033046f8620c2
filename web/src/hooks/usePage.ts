import { useEffect } from "react";

/** Give a page its title in the browser. The focus moves in `layouts/Shell.tsx`. */
export function usePageTitle(title: string) {
  useEffect(() => {
    document.title = title ? `${title} · Ringfence` : "Ringfence";
  }, [title]);
}
