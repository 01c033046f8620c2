/** What a boundary needs next on its way to a running stack. Pure; the server enforces each step. */
import type { BoundaryOut } from "./schema";

export type StepKind = "request" | "decide-grant" | "open" | "install" | "decide-plan" | "follow" | "look" | "fix" | "wait" | "none";

export interface NextStep {
  kind: StepKind;
  title: string;
  text: string;
}

const FINAL = ["succeeded", "failed", "unwound", "cancelled"];
const PARKED = ["waiting-for-grant", "needs-attention", "stuck", "paused"];

export function nextStep(boundary: BoundaryOut): NextStep | null {
  const standing = boundary.standing;
  if (!standing) return null;
  if (standing.connection_state === "unsafe") {
    return {
      kind: "fix",
      title: "Correct the role's trust policy",
      text: "The customer's role lets in more than our external id. No access can be asked for until that is corrected and verified.",
    };
  }
  const install = standing.installs[0];
  const run = install?.newest_run;
  if (run && !FINAL.includes(run.state)) {
    if (run.state === "awaiting-approval") {
      return { kind: "decide-plan", title: "The plan waits for approval", text: "A second person reads what would be built, and approves exactly that." };
    }
    if (PARKED.includes(run.state)) {
      return { kind: "look", title: "The run needs a person", text: "It has stopped at a safe point. Its page says why, and how to go on." };
    }
    return { kind: "follow", title: "The install is under way", text: "Follow it live; it goes on when you close this page." };
  }
  if (install?.lifecycle === "installed") {
    const state = standing.live_grant?.state;
    if (state === "requested" || state === "approved") return grantStep(state);
    if (state === "active") {
      return { kind: "none", title: "Installed, and access is open", text: "On the install's page: see what an update would change, or set right what was changed in the account." };
    }
    return { kind: "none", title: "Installed", text: "Nothing to do. Models and keys are managed through the agent, without access to the account." };
  }
  return grantStep(standing.live_grant?.state);
}

function grantStep(state: string | undefined): NextStep {
  switch (state) {
    case undefined:
      return { kind: "request", title: "Ask for access", text: "An access grant opens the account for one purpose and a limited time. Somebody else approves it." };
    case "requested":
      return { kind: "decide-grant", title: "The access request waits for approval", text: "A second person reads which permissions are asked for, why, and for how long." };
    case "approved":
      return { kind: "open", title: "The customer opens the role", text: "They update their stack with the two parameters below; then verify that only we are let in." };
    case "active":
      return { kind: "install", title: "Start the install", text: "Access is open and verified. The run begins by planning; nothing is built before the plan is approved." };
    default:
      return { kind: "wait", title: "Access is ending", text: "Our power is taken away; the role goes when the customer deletes it or its time is over." };
  }
}
