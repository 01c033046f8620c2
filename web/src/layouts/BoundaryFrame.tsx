/** The frame of a boundary's pages: its name, where it lies, and tabs that are links. */
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useSuspenseQuery } from "@tanstack/react-query";
import { Link, Outlet, useParams } from "@tanstack/react-router";
import { can } from "../api/can";
import { boundaryQuery } from "../api/queries";
import { PageHead } from "../components/PageHead";

export function BoundaryFrame() {
  const { boundary: name } = useParams({ strict: false }) as { boundary: string };
  const { data: boundary } = useSuspenseQuery(boundaryQuery(name));
  const base = `/boundaries/${name}`;
  const tabs = [
    { to: base, label: "Overview", shown: can.seeStanding(boundary) },
    { to: `${base}/models`, label: "Models and instances", shown: can.seeStanding(boundary) },
    { to: `${base}/usage`, label: "Usage", shown: can.seeUsage(boundary) },
    { to: `${base}/gateway`, label: "Gateway", shown: true },
  ].filter((tab) => tab.shown);
  const { region, account_number, account } = boundary.target as Record<string, string>;
  return (
    <>
      <PageHead
        title={boundary.display_name}
        trail={[{ label: "Home", to: "/" }]}
        about={
          can.seeStanding(boundary)
            ? `Boundary ${boundary.name} · ${boundary.blueprint} ${boundary.blueprint_version} · account ${account_number ?? account ?? "?"} in ${region ?? "?"}`
            : "The models of this boundary, and how to use them."
        }
      />
      {tabs.length > 1 && (
        <nav className="rf-tabs" aria-label={`Boundary ${boundary.display_name}`}>
          <ul>
            {tabs.map((tab) => {
              return (
                <li key={tab.to}>
                  <Link to={tab.to} activeOptions={{ exact: true, includeSearch: false }}>
                    {tab.label}
                  </Link>
                </li>
              );
            })}
          </ul>
        </nav>
      )}
      <PageSection isWidthLimited>
        <Outlet />
      </PageSection>
    </>
  );
}
