import { Breadcrumb, BreadcrumbItem } from "@patternfly/react-core/dist/dynamic/components/Breadcrumb";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { usePageTitle } from "../hooks/usePage";

interface Props {
  title: string;
  /** One line under the title: what the page is for. */
  about?: ReactNode;
  /** Beside the title: labels. */
  labels?: ReactNode;
  actions?: ReactNode;
  trail?: { label: string; to: string }[];
}

/** The head of a page: the only h1, and what the browser's tab says. */
export function PageHead({ title, about, labels, actions, trail }: Props) {
  usePageTitle(title);
  return (
    <header className="rf-head">
      {trail && (
        <Breadcrumb aria-label="Where you are">
          {trail.map((step) => (
            <BreadcrumbItem
              key={step.to}
              render={({ className }) => (
                <Link to={step.to} className={className}>
                  {step.label}
                </Link>
              )}
            />
          ))}
          <BreadcrumbItem isActive>{title}</BreadcrumbItem>
        </Breadcrumb>
      )}
      <div className="rf-head-row">
        <h1>{title}</h1>
        {labels && <div className="rf-labels">{labels}</div>}
        <span className="rf-grow" />
        {actions && <div className="rf-actions">{actions}</div>}
      </div>
      {about && <p className="rf-about">{about}</p>}
    </header>
  );
}
