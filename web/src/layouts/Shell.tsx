/** The frame around every page of a signed-in person: masthead, navigation, page, focus. */
import { Label } from "@patternfly/react-core/dist/dynamic/components/Label";
import {
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadMain,
  MastheadToggle,
} from "@patternfly/react-core/dist/dynamic/components/Masthead";
import { Nav, NavGroup, NavItem, NavList } from "@patternfly/react-core/dist/dynamic/components/Nav";
import {
  Page,
  PageSidebar,
  PageSidebarBody,
  PageToggleButton,
} from "@patternfly/react-core/dist/dynamic/components/Page";
import { SkipToContent } from "@patternfly/react-core/dist/dynamic/components/SkipToContent";
import BarsIcon from "@patternfly/react-icons/dist/dynamic/icons/bars-icon";
import { useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { can } from "../api/can";
import { approvalsQuery, boundariesQuery, meQuery } from "../api/queries";
import { Brand } from "../components/Brand";
import { Offline } from "../components/Offline";
import { OrganizationChoice } from "../components/OrganizationChoice";
import { PersonMenu } from "../components/PersonMenu";
import { ThemeSwitch } from "../components/ThemeSwitch";

const MAIN = "main";
const WIDE = 1200;
/** Where PatternFly docks the sidebar beside the page; below, it lies over the page. */
const MANY = 8;

export function Shell() {
  const path = useRouterState({ select: (s) => s.location.pathname });
  const [isOpen, setOpen] = useState(() => window.innerWidth >= WIDE);
  useEffect(() => {
    if (window.innerWidth < WIDE) setOpen(false);
  }, [path]);
  useFocusOnRoute(path);
  return (
    <Page
      masthead={<Top isOpen={isOpen} onToggle={() => setOpen(!isOpen)} />}
      sidebar={
        <PageSidebar isSidebarOpen={isOpen}>
          <PageSidebarBody>
            <Navigation path={path} />
          </PageSidebarBody>
        </PageSidebar>
      }
      skipToContent={<SkipToContent href={`#${MAIN}`}>Skip to content</SkipToContent>}
      mainContainerId={MAIN}
      mainTabIndex={-1}
      isContentFilled
    >
      <Offline />
      <Outlet />
    </Page>
  );
}

/** After a change of route the focus goes to the page, so that a screen reader begins to read there. */
function useFocusOnRoute(path: string) {
  const last = useRef(path);
  useEffect(() => {
    if (last.current === path) return;
    last.current = path;
    document.getElementById(MAIN)?.focus({ preventScroll: true });
  }, [path]);
}

function Top({ isOpen, onToggle }: { isOpen: boolean; onToggle: () => void }) {
  return (
    <Masthead display={{ default: "inline" }}>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton
            aria-label={isOpen ? "Close the navigation" : "Open the navigation"}
            isSidebarOpen={isOpen}
            onSidebarToggle={onToggle}
          >
            <BarsIcon />
          </PageToggleButton>
        </MastheadToggle>
        <MastheadBrand>
          <Link to="/" className="rf-brand" aria-label="Ringfence, home">
            <Brand />
          </Link>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <div className="rf-masthead">
          <OrganizationChoice />
          <span className="rf-grow" />
          <ThemeSwitch />
          <PersonMenu />
        </div>
      </MastheadContent>
    </Masthead>
  );
}

function Navigation({ path }: { path: string }) {
  const { data: me } = useSuspenseQuery(meQuery);
  const { data: boundaries } = useQuery({ ...boundariesQuery, enabled: can.enter(me) });
  const operations = can.seeOperations(me);
  return (
    <Nav aria-label="Main">
      <NavList>
        <NavItem isActive={path === "/"}>
          <Link to="/" activeOptions={{ exact: true }}>Home</Link>
        </NavItem>
        {operations && (
          <NavItem isActive={path.startsWith("/approvals")}>
            <Link to="/approvals">
              Approvals <Waiting />
            </Link>
          </NavItem>
        )}
        {operations && (
          <NavItem isActive={path.startsWith("/installs")}>
            <Link to="/installs">Installs</Link>
          </NavItem>
        )}
      </NavList>
      {boundaries && boundaries.length > 0 && (
        <NavGroup title="Boundaries">
          {boundaries.slice(0, MANY).map((b) => (
            <NavItem key={b.id} isActive={path.startsWith(`/boundaries/${b.name}`)}>
              <Link to="/boundaries/$boundary" params={{ boundary: b.name }}>
                {b.display_name}
              </Link>
            </NavItem>
          ))}
          {boundaries.length > MANY && (
            <NavItem>
              <Link to="/">All {boundaries.length} boundaries</Link>
            </NavItem>
          )}
        </NavGroup>
      )}
      {(can.seeAudit(me) || can.seePeople(me)) && (
        <NavGroup title="Evidence">
          {can.seeAudit(me) && (
            <NavItem isActive={path.startsWith("/audit")}>
              <Link to="/audit">Audit</Link>
            </NavItem>
          )}
          {can.seeAudit(me) && (
            <NavItem isActive={path.startsWith("/reports")}>
              <Link to="/reports">Reports</Link>
            </NavItem>
          )}
          {can.seePeople(me) && (
            <NavItem isActive={path.startsWith("/people")}>
              <Link to="/people">People</Link>
            </NavItem>
          )}
        </NavGroup>
      )}
    </Nav>
  );
}

/** How many things wait for this person's own decision. */
function Waiting() {
  const { data } = useQuery(approvalsQuery);
  const mine = data?.filter((a) => a.may_decide).length ?? 0;
  if (mine === 0) return null;
  return (
    <Label isCompact color="orange" className="rf-count">
      {mine}
      <span className="pf-v6-screen-reader"> waiting for you</span>
    </Label>
  );
}

