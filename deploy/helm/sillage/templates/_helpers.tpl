{{- define "sillage.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "sillage.secret" -}}
{{- .Values.secrets.existing | default (printf "%s-keys" (include "sillage.name" .)) -}}
{{- end }}

{{- define "sillage.selector" -}}
app.kubernetes.io/name: sillage
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sillage.labels" -}}
{{ include "sillage.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "sillage.valkeySelector" -}}
app.kubernetes.io/name: sillage-valkey
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
