/** Says that the network is gone, and renews what is shown once it is back. */
import { Alert } from "@patternfly/react-core/dist/dynamic/components/Alert";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

export function Offline() {
  const [isOffline, setOffline] = useState(() => !navigator.onLine);
  const client = useQueryClient();
  useEffect(() => {
    const gone = () => setOffline(true);
    const back = () => {
      setOffline(false);
      void client.invalidateQueries();
    };
    window.addEventListener("offline", gone);
    window.addEventListener("online", back);
    return () => {
      window.removeEventListener("offline", gone);
      window.removeEventListener("online", back);
    };
  }, [client]);
  return (
    <div role="status" className="rf-offline">
      {isOffline && (
        <Alert variant="warning" isInline component="p" title="No connection">
          What you see may be old. Nothing you do is sent now; the page renews itself when the connection is back.
        </Alert>
      )}
    </div>
  );
}
