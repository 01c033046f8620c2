/** Read the role's permissions out of the CloudFormation template, as it is handed to the customer. */

export interface Statement {
  key: string;
  sid: string;
  effect: string;
  actions: string[];
  resources: string[];
  conditions: string[];
}

type Json = Record<string, unknown>;

/** The statements of the role's own policies (`Permissions1`, …); the other policies only narrow. */
export function statementsOf(template: Json): Statement[] {
  const resources = (template.Resources ?? {}) as Record<string, Json>;
  return Object.entries(resources)
    .filter(([name]) => /^Permissions\d+$/.test(name))
    .sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }))
    .flatMap(([name, resource]) => {
      const document = ((resource.Properties as Json)?.PolicyDocument ?? {}) as Json;
      return list(document.Statement).map((s, index) => statement(`${name}-${index}`, s as Json));
    });
}

function statement(key: string, raw: Json): Statement {
  return {
    key,
    sid: String(raw.Sid ?? key),
    effect: String(raw.Effect ?? "Allow"),
    actions: [
      ...list(raw.Action).map(plain),
      ...list(raw.NotAction).map((action) => `all but ${plain(action)}`),
    ],
    resources: [
      ...list(raw.Resource).map(plain),
      ...list(raw.NotResource).map((resource) => `all but ${plain(resource)}`),
    ],
    conditions: Object.entries((raw.Condition ?? {}) as Record<string, Json>).flatMap(
      ([operator, tests]) =>
        Object.entries(tests).map(([name, value]) => `${operator}: ${name} = ${list(value).map(plain).join(", ")}`),
    ),
  };
}

function list(value: unknown): unknown[] {
  return value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
}

/** `Fn::Sub` texts as they stand; any other function as its JSON, never left out. */
function plain(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "object" && value !== null && "Fn::Sub" in value) {
    const text = (value as Json)["Fn::Sub"];
    return typeof text === "string" ? text : JSON.stringify(text);
  }
  if (typeof value === "object" && value !== null && "Fn::If" in value) return "the grant's end";
  return JSON.stringify(value);
}
