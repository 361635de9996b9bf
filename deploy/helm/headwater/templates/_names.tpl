{{- define "headwater.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "headwater.labels" -}}
app.kubernetes.io/name: headwater
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* listen.grpc → HEADWATER_LISTEN_GRPC */ -}}
{{- define "headwater.variable" -}}
HEADWATER_{{ . | upper | replace "." "_" }}
{{- end }}

{{- /* The platform's environment. */ -}}
{{- define "headwater.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "headwater.name" . }}
{{- if or .Values.secretSettings .Values.config }}
env:
  {{- if .Values.config }}
  - name: HEADWATER_CONFIG
    value: /etc/headwater/config.toml
  {{- end }}
  {{- range $name, $secret := .Values.secretSettings }}
  - name: {{ include "headwater.variable" $name }}
    valueFrom:
      secretKeyRef:
        name: {{ $secret.name }}
        key: {{ $secret.key }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* A client's environment, which its arguments name: where Kafka and the registry are, and no more. */ -}}
{{- define "headwater.clientEnvironment" -}}
env:
  {{- range $name := list "kafka.brokers" "registry.url" }}
  - name: {{ include "headwater.variable" $name }}
    valueFrom:
      {{- with index ($.Values.secretSettings | default dict) $name }}
      secretKeyRef:
        name: {{ .name }}
        key: {{ .key }}
      {{- else }}
      configMapKeyRef:
        name: {{ include "headwater.name" $ }}
        key: {{ include "headwater.variable" $name }}
      {{- end }}
  {{- end }}
{{- end }}

{{- /* What in a text is a secret, as far as that can be seen; nothing where there is none. */ -}}
{{- define "headwater.secretIn" -}}
{{- if regexMatch "://\\S*@" . -}}
a URL with a user or a password
{{- else if regexMatch "(?i)(password|secret|token|key\\.pem)[\"']?\\s*=" . -}}
a password, a secret, a token or a private key
{{- end -}}
{{- end }}

{{- define "headwater.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "headwater.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* What JSON Schema cannot say, because it takes two values together. */ -}}
{{- define "headwater.check" -}}
{{- $settings := .Values.settings -}}
{{- $drain := index $settings "rpc.drain_timeout_ms" | default "8000" | int -}}
{{- $needed := add .Values.preStopSeconds (div (add $drain 999) 1000) 1 -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds: is %d, but ending takes up to %d s (preStopSeconds, rpc.drain_timeout_ms and 1 s for the roles); set it higher" (int .Values.terminationGracePeriodSeconds) $needed) -}}
{{- end -}}
{{- $replication := index $settings "topics.replication" | default "1" | int -}}
{{- if gt (index $settings "topics.min_insync" | default "1" | int) $replication -}}
{{- fail (printf "settings: topics.min_insync: is more than topics.replication (%d); no record could ever be acknowledged" $replication) -}}
{{- end -}}
{{- range $name, $value := $settings -}}
{{- with include "headwater.secretIn" $value -}}
{{- fail (printf "settings: %s: holds %s, and everyone who may read the ConfigMap would see it; put it into a Secret, and name that under secretSettings" $name .) -}}
{{- end -}}
{{- end -}}
{{- with include "headwater.secretIn" (.Values.config | default "") -}}
{{- fail (printf "config: holds %s, and everyone who may read the ConfigMap would see it; put it into a Secret, and name that under secretSettings" .) -}}
{{- end -}}
{{- range $name, $ := .Values.secretSettings -}}
{{- if hasKey $settings $name -}}
{{- fail (printf "secretSettings: %s: is also under settings, perhaps by default; set it to null there" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "kafka.brokers" "registry.url" "redis.url" "postgres.url" -}}
{{- if not (or (hasKey $settings $name) (hasKey $.Values.secretSettings $name)) -}}
{{- fail (printf "settings: %s: is missing; set it here, or by reference under secretSettings" $name) -}}
{{- end -}}
{{- end -}}
{{- $processors := 0 -}}
{{- range $name, $deployment := .Values.deployments -}}
{{- if has "processor" $deployment.roles -}}
{{- $processors = add $processors (int $deployment.replicas) -}}
{{- end -}}
{{- if ge (int $deployment.minAvailable) (int $deployment.replicas) -}}
{{- if gt (int $deployment.replicas) 1 -}}
{{- fail (printf "deployments: %s: minAvailable: is %d of %d replicas; no node could ever be drained" $name (int $deployment.minAvailable) (int $deployment.replicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $partitions := index $settings "topics.partitions" | default "8" | int -}}
{{- if gt (int $processors) $partitions -}}
{{- fail (printf "deployments: %d replicas have the role processor, and share %d partitions (topics.partitions); the rest would have nothing to do" (int $processors) $partitions) -}}
{{- end -}}
{{- end }}
