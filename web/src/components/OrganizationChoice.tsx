import { useSuspenseQuery } from "@tanstack/react-query";
import { chooseOrganization, meQuery } from "../api/queries";

/** The organization that everything on the page belongs to; a choice where there are several. */
export function OrganizationChoice() {
  const { data: me } = useSuspenseQuery(meQuery);
  if (me.organization === null) return null;
  if (me.organizations.length === 1) return <span className="rf-organization">{me.organization}</span>;
  return (
    <label className="rf-organization">
      <span className="pf-v6-screen-reader">Organization</span>
      <select value={me.organization} onChange={(event) => chooseOrganization(event.target.value)}>
        {me.organizations.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}
