import { Dropdown, DropdownGroup, DropdownItem, DropdownList } from "@patternfly/react-core/dist/dynamic/components/Dropdown";
import { MenuToggle } from "@patternfly/react-core/dist/dynamic/components/MenuToggle";
import UserIcon from "@patternfly/react-icons/dist/dynamic/icons/user-icon";
import { useMutation, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { ROLE_LABELS, type Role } from "../api/can";
import { api, unwrap } from "../api/client";
import { meQuery } from "../api/queries";

/** Who is signed in and as what; own tokens; sign out. */
export function PersonMenu() {
  const [isOpen, setOpen] = useState(false);
  const { data: me } = useSuspenseQuery(meQuery);
  const navigate = useNavigate();
  const client = useQueryClient();
  const signOut = useMutation({
    mutationFn: () => unwrap(api.POST("/v1/sign-out")),
    onSettled: (ended) => {
      // Nothing of this person stays in the tab, whatever the server answered.
      client.clear();
      window.location.assign(ended?.end_session_url ?? "/sign-in");
    },
  });
  const roles = [...new Set(me.roles.map((r) => ROLE_LABELS[r.role as Role] ?? r.role))];
  return (
    <Dropdown
      isOpen={isOpen}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      popperProps={{ position: "right" }}
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          variant="plainText"
          isExpanded={isOpen}
          icon={<UserIcon />}
          aria-label={`Signed in as ${me.display}`}
          onClick={() => setOpen(!isOpen)}
        >
          <span className="rf-person">{me.display}</span>
        </MenuToggle>
      )}
    >
      <DropdownGroup label={me.subject}>
        <p className="rf-menu-note">{roles.join(", ") || "No role yet"}</p>
        <DropdownList>
          <DropdownItem key="tokens" onClick={() => void navigate({ to: "/tokens" })}>
            My access tokens
          </DropdownItem>
          <DropdownItem key="out" onClick={() => signOut.mutate()}>
            Sign out
          </DropdownItem>
        </DropdownList>
      </DropdownGroup>
    </Dropdown>
  );
}
