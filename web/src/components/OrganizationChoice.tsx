import { useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { useRouter } from "@tanstack/react-router";
import { useState } from "react";
import { chooseOrganization, chosenOrganization, meQuery, organizationsOf } from "../api/queries";

/** The organization that everything on the page belongs to; a choice where there are several. */
export function OrganizationChoice() {
  const { data: me } = useSuspenseQuery(meQuery);
  const known = organizationsOf(me);
  const [chosen, setChosen] = useState(() => chosenOrganization(known));
  const client = useQueryClient();
  const router = useRouter();
  if (known.length === 0) return null;
  if (known.length === 1) return <span className="rf-organization">{known[0]}</span>;
  return (
    <label className="rf-organization">
      <span className="pf-v6-screen-reader">Organization</span>
      <select
        value={chosen ?? ""}
        onChange={(event) => {
          chooseOrganization(event.target.value);
          setChosen(event.target.value);
          client.removeQueries({ predicate: (q) => q.queryKey[0] !== "me" && q.queryKey[0] !== "session" });
          void router.navigate({ to: "/" }).then(() => router.invalidate());
        }}
      >
        {known.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}
