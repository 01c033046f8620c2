import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import MoonIcon from "@patternfly/react-icons/dist/dynamic/icons/moon-icon";
import SunIcon from "@patternfly/react-icons/dist/dynamic/icons/sun-icon";
import { useTheme } from "../hooks/useTheme";

export function ThemeSwitch() {
  const [isDark, toggle] = useTheme();
  return (
    <Button
      variant="plain"
      aria-label={isDark ? "Use the light theme" : "Use the dark theme"}
      icon={isDark ? <SunIcon /> : <MoonIcon />}
      onClick={toggle}
    />
  );
}
