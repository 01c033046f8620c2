/**
 * A link that saves a file, straight to disk. A browser says nothing helpful when such a link is
 * refused, so the session is asked first: signed out or offline, the page says so instead.
 */
import { useQueryClient } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { explain } from "../api/errors";
import { sessionQuery } from "../api/queries";
import { signedOut } from "../queryClient";

export function Download({ href, children }: { href: string; children: ReactNode }) {
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const save = async () => {
    setError(null);
    try {
      const session = await client.fetchQuery({ ...sessionQuery, staleTime: 0, retry: false });
      if (session.state !== "signed-in") return signedOut();
      const link = document.createElement("a");
      link.href = href;
      link.download = "";
      link.click();
    } catch (cause) {
      setError(cause);
    }
  };
  return (
    <>
      <a
        href={href}
        download
        onClick={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        {children}
      </a>
      {error !== null && (
        <span role="alert" className="rf-bad">
          {" "}
          {explain(error).message} {explain(error).fix}
        </span>
      )}
    </>
  );
}
