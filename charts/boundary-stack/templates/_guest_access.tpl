{{/*
What the installer of a guest may do in this cluster: fill and empty the guest's two namespaces,
delete its one SecurityBoundary, and read at which addresses the API server is. It comes in as a Kubernetes group (its access entry has no policy
of EKS), and gets nothing of the whole cluster: what a guest needs of that is made beside this, by
the release of the cluster's own boundary. Arguments as of boundary-stack.clusterScope.
*/}}
{{- define "boundary-stack.guestAccess" -}}
{{- $scope := . }}
{{- range $namespace := list .system .namespace }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: guest-installer
  namespace: {{ $namespace }}
  labels: {{- include "boundary-stack.labels" (dict "root" $scope.root "name" $scope.name "component" "guest-installer") | nindent 4 }}
rules:
  - apiGroups: [""]
    resources: [configmaps, persistentvolumeclaims, resourcequotas, secrets, serviceaccounts, services]
    verbs: [get, list, watch, create, update, patch, delete, deletecollection]
  - apiGroups: [""]
    resources: [pods]
    verbs: [get, list, watch]
  - apiGroups: [apps]
    resources: [deployments]
    verbs: [get, list, watch, create, update, patch, delete, deletecollection]
  - apiGroups: [batch]
    resources: [jobs]
    verbs: [get, list, watch, create, update, patch, delete, deletecollection]
  - apiGroups: [networking.k8s.io]
    resources: [networkpolicies]
    verbs: [get, list, watch, create, update, patch, delete]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [get, create, update]
  # It gives the guest's own parts their rights here, and can give none that it does not have.
  - apiGroups: [rbac.authorization.k8s.io]
    resources: [roles, rolebindings]
    verbs: [get, list, watch, create, update, patch, delete]
  - apiGroups: [ringfence.dev]
    resources: [modelartifacts, modelinstances, adapterbindings, gatewayaccesses]
    verbs: [get, list, watch, create, update, patch, delete, deletecollection]
  - apiGroups: [ringfence.dev]
    resources:
      - modelartifacts/status
      - modelinstances/status
      - adapterbindings/status
      - gatewayaccesses/status
    verbs: [get, patch]
---
{{- include "boundary-stack.guestBinding" (dict "scope" $scope "role" "guest-installer" "namespace" $namespace) }}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "boundary-stack.clusterName" (dict "name" .name "part" "api-server") | quote }}
  namespace: default
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "guest-installer") | nindent 4 }}
rules:
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    resourceNames: [kubernetes]
    verbs: [get]
---
{{- include "boundary-stack.guestBinding" (dict "scope" . "role" (include "boundary-stack.clusterName" (dict "name" .name "part" "api-server")) "namespace" "default") }}
---
# At the end it takes the guest's one SecurityBoundary away; the agent, which made it, is gone then.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "boundary-stack.clusterName" (dict "name" .name "part" "guest-installer") | quote }}
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "guest-installer") | nindent 4 }}
rules:
  - apiGroups: [ringfence.dev]
    resources: [securityboundaries]
    resourceNames: [{{ .name }}]
    verbs: [get, delete]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "boundary-stack.clusterName" (dict "name" .name "part" "guest-installer") | quote }}
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "guest-installer") | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "boundary-stack.clusterName" (dict "name" .name "part" "guest-installer") | quote }}
subjects:
  - {kind: Group, name: ringfence-guest-{{ .name }}, apiGroup: rbac.authorization.k8s.io}
---
# Whoever may write labels in a guest's namespace (its operator may) could otherwise lift the level
# that keeps its pods off the nodes, which the host's pods run on.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: ringfence-{{ .name }}-namespaces
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "guest-installer") | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [UPDATE]
        resources: [namespaces]
        resourceNames: [{{ .system }}, {{ .namespace }}]
  validations:
    - expression: >-
        ["enforce", "audit", "warn"].all(mode, has(object.metadata.labels) &&
        ("pod-security.kubernetes.io/" + mode) in object.metadata.labels &&
        object.metadata.labels["pod-security.kubernetes.io/" + mode] == "restricted")
      message: the namespaces of guest {{ .name }} stay restricted
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: ringfence-{{ .name }}-namespaces
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "guest-installer") | nindent 4 }}
spec:
  policyName: ringfence-{{ .name }}-namespaces
  validationActions: [Deny]
{{- end -}}

{{/* The binding of .role in .namespace to the group of the guest's installer. */}}
{{- define "boundary-stack.guestBinding" }}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .role | quote }}
  namespace: {{ .namespace }}
  labels: {{- include "boundary-stack.labels" (dict "root" .scope.root "name" .scope.name "component" "guest-installer") | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .role | quote }}}
subjects:
  - {kind: Group, name: ringfence-guest-{{ .scope.name }}, apiGroup: rbac.authorization.k8s.io}
{{- end -}}
