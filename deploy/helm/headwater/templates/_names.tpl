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

{{- /* The environment of every container, the clients' too: their arguments name variables of it. */ -}}
{{- define "headwater.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "headwater.name" . }}
{{- with .Values.secretSettings }}
env:
  {{- range $name, $secret := . }}
  - name: {{ include "headwater.variable" $name }}
    valueFrom:
      secretKeyRef:
        name: {{ $secret.name }}
        key: {{ $secret.key }}
  {{- end }}
{{- end }}
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
{{- range $name, $ := .Values.secretSettings -}}
{{- if hasKey $settings $name -}}
{{- fail (printf "secretSettings: %s: is also under settings; leave it out there" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "kafka.brokers" "registry.url" "redis.url" "postgres.url" -}}
{{- if not (or (hasKey $settings $name) (hasKey $.Values.secretSettings $name)) -}}
{{- fail (printf "settings: %s: is missing; set it here, or by reference under secretSettings" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $deployment := .Values.deployments -}}
{{- if ge (int $deployment.minAvailable) (int $deployment.replicas) -}}
{{- if gt (int $deployment.replicas) 1 -}}
{{- fail (printf "deployments: %s: minAvailable: is %d of %d replicas; no node could ever be drained" $name (int $deployment.minAvailable) (int $deployment.replicas)) -}}
{{- end -}}
{{- end -}}
{{- $partitions := index $settings "topics.partitions" | default "8" | int -}}
{{- if and (has "processor" $deployment.roles) (gt (int $deployment.replicas) $partitions) -}}
{{- fail (printf "deployments: %s: replicas: %d processors share %d partitions (topics.partitions); the rest would have nothing to do" $name (int $deployment.replicas) $partitions) -}}
{{- end -}}
{{- end -}}
{{- end }}
