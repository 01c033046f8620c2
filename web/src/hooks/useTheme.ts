import { useCallback, useEffect, useState } from "react";

const STORED = "ringfence.theme";
const DARK = "pf-v6-theme-dark";

/** The theme shown now, and a switch; `public/theme.js` sets it before the first paint. */
export function useTheme(): [isDark: boolean, toggle: () => void] {
  const [isDark, setDark] = useState(() => document.documentElement.classList.contains(DARK));
  useEffect(() => {
    document.documentElement.classList.toggle(DARK, isDark);
  }, [isDark]);
  useEffect(() => {
    // Follows the system until the person has chosen.
    const system = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => {
      if (localStorage.getItem(STORED) === null) setDark(system.matches);
    };
    system.addEventListener("change", follow);
    return () => system.removeEventListener("change", follow);
  }, []);
  const toggle = useCallback(() => {
    setDark((now) => {
      localStorage.setItem(STORED, now ? "light" : "dark");
      return !now;
    });
  }, []);
  return [isDark, toggle];
}
