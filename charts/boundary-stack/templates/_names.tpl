{{/* Namespace of the boundary. */}}
{{- define "boundary-stack.namespace" -}}
{{- .Values.boundary.namespace | default (printf "boundary-%s" (required "boundary.name is required" .Values.boundary.name)) -}}
{{- end -}}

{{/* Name of a cluster-scoped object of the part .part of boundary .name: boundaries share clusters. */}}
{{- define "boundary-stack.clusterName" -}}
ringfence:{{ .name }}:{{ .part }}
{{- end -}}

{{/* Reference of an image: .name is the key in .root.Values.images. */}}
{{- define "boundary-stack.image" -}}
{{- $reference := required (printf "images.%s is required" .name) (index .root.Values.images .name) -}}
{{- if not (contains "@sha256:" $reference) -}}
{{- fail (printf "images.%s = %s: name the image by digest (name@sha256:...)" .name $reference) -}}
{{- end -}}
{{- with .root.Values.imageRegistry }}{{ . }}/{{ end }}{{ $reference -}}
{{- end -}}

{{/* Labels of every object: .component says which part it is; .name the boundary, if not its own. */}}
{{- define "boundary-stack.labels" -}}
app.kubernetes.io/name: boundary-stack
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
ringfence.dev/boundary: {{ .name | default .root.Values.boundary.name }}
ringfence.dev/component: {{ .component }}
{{- end -}}

{{/* Security context of a pod for the level restricted; .user is the uid. */}}
{{- define "boundary-stack.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "boundary-stack.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The storage class of a claim, if one is named. */}}
{{- define "boundary-stack.storageClass" -}}
{{- with .Values.storage.className }}
storageClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Egress to the API server: what the cluster reports now, and the configured ranges. */}}
{{- define "boundary-stack.toApiServer" -}}
{{- $ranges := .Values.network.apiServerCidrs | default (list (required "network.vpcCidr is required" .Values.network.vpcCidr)) -}}
{{- $slice := lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes" -}}
{{- range ($slice.endpoints | default list) -}}
{{- range .addresses -}}
{{- $ranges = append $ranges (printf "%s/32" .) -}}
{{- end -}}
{{- end -}}
- to:
    {{- range uniq $ranges }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports:
    {{- range .Values.network.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* Egress to AWS endpoints and to the pod identity agent of the node. */}}
{{- define "boundary-stack.toAws" -}}
{{- $endpoints := .Values.network.awsEndpoints | default (list (dict "cidr" .Values.network.vpcCidr "port" 443)) -}}
{{- range $endpoints }}
- to: [{ipBlock: {cidr: {{ .cidr }}}}]
  ports: [{port: {{ .port }}, protocol: TCP}]
{{- end }}
- to: [{ipBlock: {cidr: 169.254.170.23/32}}]
  ports: [{port: 80, protocol: TCP}]
{{- end -}}

{{/* Egress to kube-dns. */}}
{{- define "boundary-stack.toDns" -}}
{{- if .Values.network.dns -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}
{{- end -}}

{{/* Egress to the vendor's control plane. */}}
{{- define "boundary-stack.toControlPlane" -}}
{{- $url := urlParse (required "agent.controlPlaneUrl is required" .Values.agent.controlPlaneUrl) -}}
{{- $port := ternary 443 80 (eq $url.scheme "https") -}}
{{- $address := $url.host -}}
{{- if contains ":" $url.host -}}
{{- $port = (last (splitList ":" $url.host)) | int -}}
{{- $address = first (splitList ":" $url.host) -}}
{{- end -}}
{{- $ranges := .Values.network.controlPlaneCidrs -}}
{{- if not $ranges -}}
{{- if not (regexMatch "^[0-9.]+$" $address) -}}
{{- fail (printf "network.controlPlaneCidrs is required: %s is not an IP address" $address) -}}
{{- end -}}
{{- $ranges = list (printf "%s/32" $address) -}}
{{- end -}}
- to:
    {{- range $ranges }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports: [{port: {{ $port }}, protocol: TCP}]
{{- end -}}
