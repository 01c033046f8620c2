/** Audit: the hash-chained records, with their checkpoints; every reading is an event itself. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { auditExport } from "../api/addresses";
import { chainsQuery, readEvents } from "../api/queries";
import type { AuditChainOut, AuditEventOut } from "../api/schema";
import { Digest } from "../components/Digest";
import { Download } from "../components/Download";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorState } from "../components/ErrorState";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { Ago, Moment } from "../components/Time";
import { WaitingPart } from "../components/Waiting";

const PAGE = 100;

export function Audit() {
  const search = useSearch({ strict: false }) as { chain?: string; code?: string };
  const chains = useQuery(chainsQuery);
  return (
    <>
      <PageHead
        title="Audit"
        about="Who did what, when and why, in chains whose every link hashes the one before. Your reading is recorded too."
      />
      <PageSection isWidthLimited>
        <Panel title="Chains">
          {chains.isPending ? (
            <WaitingPart />
          ) : chains.error ? (
            <ErrorState error={chains.error} what="The audit chains" onRetry={() => void chains.refetch()} />
          ) : chains.data.length === 0 ? (
            <EmptyHint title="There is no chain that you may read." />
          ) : (
            <ChainList chains={chains.data} chosen={search.chain} />
          )}
        </Panel>
        {search.chain && <Events key={search.chain} chain={search.chain} code={search.code} />}
      </PageSection>
    </>
  );
}

function ChainList({ chains, chosen }: { chains: AuditChainOut[]; chosen: string | undefined }) {
  return (
    <ul className="rf-list">
      {chains.map((c) => (
        <li key={c.name}>
          <div className="rf-list-line">
            <Link
              to="/audit"
              search={{ chain: c.name, code: undefined }}
              aria-current={c.name === chosen ? "true" : undefined}
              className="rf-strong"
            >
              {c.name}
            </Link>
            <span className="rf-grow" />
            <span className="rf-muted rf-figures">{c.size} events</span>
            <Download href={auditExport(c.name)}>
              Export<span className="pf-v6-screen-reader"> {c.name}</span>
            </Download>
          </div>
          <p className="rf-muted">
            {c.checkpoint ? (
              <>
                signed up to event {c.checkpoint.size}, <Ago at={c.checkpoint.at} />
              </>
            ) : (
              "not signed yet"
            )}
            {c.anchored && (
              <>
                {" "}
                · up to event {c.anchored.size} in the customer's bucket, <Ago at={c.anchored.at} />
              </>
            )}
          </p>
        </li>
      ))}
    </ul>
  );
}

function Events({ chain, code }: { chain: string; code: string | undefined }) {
  const navigate = useNavigate();
  const [wanted, setWanted] = useState(code ?? "");
  const events = useInfiniteQuery({
    queryKey: ["audit", "events", chain, code ?? ""],
    initialPageParam: 0,
    queryFn: ({ pageParam }) => readEvents(chain, pageParam, PAGE, code),
    getNextPageParam: (page) => page.next_after ?? undefined,
  });
  const rows = events.data?.pages.flatMap((p) => p.events) ?? [];
  return (
    <Panel
      title={`Events of ${chain}`}
      aside={
        <form
          className="rf-filter"
          role="search"
          onSubmit={(event) => {
            event.preventDefault();
            void navigate({ to: "/audit", search: { chain, code: wanted.trim() || undefined }, resetScroll: false });
          }}
        >
          <input
            type="search"
            className="rf-search"
            value={wanted}
            onChange={(event) => setWanted(event.target.value)}
            aria-label="Show events of one code"
            placeholder="Code, e.g. grant.approved"
          />
          <Button type="submit" variant="secondary" size="sm">
            Filter
          </Button>
        </form>
      }
    >
      {events.isPending ? (
        <WaitingPart lines={6} />
      ) : events.error ? (
        <ErrorState error={events.error} what="Audit events" onRetry={() => void events.refetch()} />
      ) : rows.length === 0 ? (
        <EmptyHint title={code ? `No event of code ${code}.` : "This chain has no event yet."} />
      ) : (
        <>
          <ol className="rf-audit">
            {rows.map((event) => (
              <EventRow key={event.seq} event={event} />
            ))}
          </ol>
          {events.hasNextPage && (
            <Button variant="secondary" isLoading={events.isFetchingNextPage} onClick={() => void events.fetchNextPage()}>
              Show more
            </Button>
          )}
        </>
      )}
    </Panel>
  );
}

function EventRow({ event }: { event: AuditEventOut }) {
  const actor = event.actor as Record<string, string | undefined>;
  return (
    <li>
      <details>
        <summary>
          <span className="rf-muted rf-figures">{event.seq}</span>
          <Moment at={event.at} />
          <code>{event.code}</code>
          <span>{actor.display ?? actor.subject ?? "unknown"}</span>
          <span className="rf-muted rf-long">{event.target}</span>
        </summary>
        <div className="rf-audit-detail">
          <pre tabIndex={0}>{JSON.stringify({ actor: event.actor, detail: event.detail, request: event.request_id }, null, 2)}</pre>
          <p className="rf-muted">
            hash <Digest value={event.hash} label="hash" />
          </p>
        </div>
      </details>
    </li>
  );
}
