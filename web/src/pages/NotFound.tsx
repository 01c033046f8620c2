import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { Link } from "@tanstack/react-router";
import { EmptyHint } from "../components/EmptyHint";
import { PageHead } from "../components/PageHead";
import { useTheme } from "../hooks/useTheme";

export function NotFound() {
  // Outside the frame nothing else follows the theme.
  useTheme();
  return (
    <>
      <PageHead title="There is no such page" />
      <PageSection isWidthLimited>
        <EmptyHint title="The address may be old or mistyped." action={<Link to="/">Go to Home</Link>} />
      </PageSection>
    </>
  );
}
