package config

import "maps"

// fieldDocs says what each field means, by its path; [] stands for an entry of
// a list. [Marshal] writes these texts as comments and docs/configuration.md
// is made of them. A test keeps the table and the types together.
func fieldDocs() map[string]string {
	docs := worldDocs()
	maps.Copy(docs, conductDocs())
	return docs
}

// worldDocs are about what the coordinator sees.
func worldDocs() map[string]string {
	return map[string]string{ //nolint:gosec // these are texts about credentials, not credentials
		"apiVersion": "Version of this file's format.",
		"kind":       "Kind of document; always Configuration.",

		"management":             "Where Cluster API's objects are.",
		"management.kubeconfig":  "Path of a kubeconfig. Left out: the service account of the pod.",
		"management.namespace":   "Namespace of the Cluster and its MachineDeployments. Required.",
		"management.clusterName": "Name of the Cluster whose MachineDeployments are scaled. Required.",

		"workload":            "Where Ray runs.",
		"workload.kubeconfig": "Path of a kubeconfig. Left out: the same cluster and identity as management.",

		"rayClusters":                         "Which RayClusters are looked after, and how.",
		"rayClusters.namespaces":              "Namespaces to look in. Left out: every namespace that the identity may list.",
		"rayClusters.defaultMode":             "auto, follow, lead or off; the annotation tandem-autoscaler.io/mode on a RayCluster overrides it. follow: Ray's own autoscaler decides pods and Tandem buys their VMs ahead of them. lead: Tandem decides pods and VMs together. off: the pods count as ordinary pods. auto: follow where Ray's autoscaler is live, otherwise off.",
		"rayClusters.credentials":             "Credentials for GCS servers that ask for them. The files may change at any time.",
		"rayClusters.credentials[].namespace": "Namespace of the RayCluster.",
		"rayClusters.credentials[].name":      "Name of the RayCluster, or \"*\" for every one in the namespace that has no entry of its own.",
		"rayClusters.credentials[].tokenFile": "File with Ray's authentication token.",
		"rayClusters.credentials[].caFile":    "File with the certificates that the GCS's own is verified by.",
		"rayClusters.credentials[].certFile":  "File with the client's certificate, for mutual TLS.",
		"rayClusters.credentials[].keyFile":   "File with the client's private key, for mutual TLS.",

		"demand":              "How the GCS servers are read.",
		"demand.pollInterval": "Time between two readings of one GCS.",
		"demand.settle":       "How long a demand that just changed must stay as it is before it is acted on, so that one burst becomes one purchase. Less than staleAfter.",
		"demand.timeout":      "Longest time for one call.",
		"demand.staleAfter":   "Age at which an answer stops counting as known. Unknown demand holds its nodes.",

		"demand.constraintTTL": "How long a call of request_resources counts that is not made again with other amounts. Zero: until it is taken back.",

		"catalogue":                       "Where VM classes come from.",
		"catalogue.virtualMachineClasses": "Read the VirtualMachineClass objects (vmoperator.vmware.com) of the management namespace.",
		"catalogue.vcenter":               "A vCenter whose VM classes are read. Secrets are paths of files.",
		"catalogue.vcenter.url":           "Address of the SDK endpoint. https; http on loopback addresses only.",
		"catalogue.vcenter.usernameFile":  "File with the user name.",
		"catalogue.vcenter.passwordFile":  "File with the password.",
		"catalogue.vcenter.caFile":        "File with the certificates that the vCenter's own is verified by.",
		"catalogue.vcenter.thumbprint":    "SHA-1 or SHA-256 fingerprint of the vCenter's certificate.",
		"catalogue.vcenter.insecure":      "Verify nothing. For trials only.",
		"catalogue.vcenter.hosts":         "Read what is free on its hosts, by zone, and buy no VM for which no host has room: whole GPUs, and the memory that GPU VMs and classes with a reservation lock. Needs a role that may read hosts and VMs.",
		"catalogue.refreshInterval":       "Time between two readings of the catalogue.",
		"catalogue.classes":               "Prices for classes, or whole classes where no source has them.",
		"catalogue.classes[].name":        "Name of the VM class.",
		"catalogue.classes[].price":       "Price per hour in the unit of your choice: a decimal with at most six digits after the point. Left out: derived from the size.",
		"catalogue.classes[].cpu":         "Cores, as a Kubernetes quantity.",
		"catalogue.classes[].memory":      "Memory, as a Kubernetes quantity.",
		"catalogue.classes[].gpu":         "Number of GPUs.",
		"catalogue.classes[].gpuType":     "Type of the GPUs, as Ray's accelerator label names it.",
	}
}

// conductDocs are about what it does.
func conductDocs() map[string]string {
	return map[string]string{
		"loop":          "The pace.",
		"loop.interval": "Time between two ticks when nothing happens; events wake the loop earlier.",
		"loop.dryRun":   "Plan and record, but write nothing.",
		"loop.paused":   "Plan and record, but take no step until this is taken back. The annotation tandem-autoscaler.io/paused on the Cluster does the same, and on a MachineDeployment for that one.",

		"growth":                   "Bounds on buying.",
		"growth.provisionDeadline": "How long a Machine may take from its creation to a ready Node with all its resources before it is given up.",
		"growth.backoffInitial":    "How long a MachineDeployment rests after a Machine of it was given up.",
		"growth.backoffMax":        "Longest rest; each failure in a row doubles it up to here.",
		"growth.maxPerTick":        "Machines that one plan may ask for in all. Left out or zero: no bound.",
		"growth.maxPerGroup":       "Machines that one plan may ask one MachineDeployment for. Left out or zero: no bound.",
		"growth.maxPerHour":        "Machines that all plans of one hour may ask for. Left out or zero: no bound.",
		"growth.maxMachines":       "Machines of all managed MachineDeployments together. Left out or zero: no bound.",
		"growth.maxAttempts":       "How often Machines are bought for one demand whose pods go on waiting, before no more are. Zero: no bound.",
		"growth.gpuNodeFee":        "Price per hour, in the unit of the classes' prices, of each pod without GPUs on a new VM with GPUs: it gets there where that is cheaper all the same. Left out: a VM with GPUs is bought for GPU demand only, and for pods that no other MachineDeployment can hold; others may use what room is left beside GPU demand.",
		"growth.fairShare":         "Where there is not enough for all (sizes, room on the hosts, the limits of growth), give the tenants of one priority parts by their weights: each as much as it wants, up to its part, counting what it has already; nothing in use is taken away, and what one cannot use goes to the others. Off: served in the order of their names, each in full.",

		"removal":                    "Bounds on giving back.",
		"removal.enabled":            "Give back Machines that nothing needs.",
		"removal.vacantHold":         "How long a node stays vacant and unwanted before its removal begins.",
		"removal.demandHold":         "How far back arrivals of demand are looked at: a vacant node stays while their rate says that it will be wanted before a new one could boot. Zero: no such hold.",
		"removal.softTaints":         "Put a PreferNoSchedule taint on the emptiest nodes, so that new pods fill the others first and these can be given back.",
		"removal.maxPerTick":         "Machines that one plan may remove. Zero: no bound.",
		"removal.maxPerHour":         "Machines that all plans of one hour may remove. Left out or zero: no bound.",
		"removal.maxUnreadyPercent":  "Share of nodes, in per cent, above which nothing is removed while they are not ready. Zero: no such stop.",
		"removal.okUnready":          "Number of nodes that may be not ready whatever share they are.",
		"removal.hooks":              "Put a pre-drain hook on every managed Machine, so that Cluster API waits for Ray when somebody else deletes one.",
		"removal.drainDeadline":      "How long Ray nodes have to end their work when somebody else deletes their Machine.",
		"removal.unreachableRelease": "How long the node of a deleted Machine must have been unreachable before its hook is released.",

		"tenants":               "What the RayClusters of one namespace may have bought, and who comes first.",
		"tenants[].namespace":   "Namespace of the RayClusters, or \"*\" for every one without an entry of its own.",
		"tenants[].maxMachines": "Machines that they may have at a time. Left out or zero: no bound.",
		"tenants[].maxGPUs":     "GPUs that they may have at a time, in whole GPUs. Left out or zero: no bound.",
		"tenants[].priority":    "Where there is not enough for all, the RayClusters with the highest number are served first. It takes nothing away that is in use. Left out: 0.",
		"tenants[].weight":      "How much they get beside other tenants of the same priority where there is not enough for all: with 3, three times as much as with 1. Up to 1000. Left out or zero: 1.",

		"leaderElection":               "One of several replicas acts, chosen by a Lease of the workload cluster.",
		"leaderElection.enabled":       "Take part in the election. Without it, run one replica only.",
		"leaderElection.namespace":     "Namespace of the Lease.",
		"leaderElection.name":          "Name of the Lease.",
		"leaderElection.leaseDuration": "How long the others wait for a leader that is silent. 1s or more.",
		"leaderElection.renewDeadline": "How long a leader tries to renew before it stops. Less than leaseDuration.",
		"leaderElection.retryPeriod":   "Time between two tries. renewDeadline is more than 1.2 times as long.",

		"server":         "Health, metrics and the state of the loop, over HTTP.",
		"server.address": "host:port to listen on; \"0\" switches the server off. On an address that is not loopback, only /metrics, /healthz, /livez and /readyz answer callers on other machines.",

		"journal":      "The record of decisions, one JSON object a line.",
		"journal.path": "Path of a file, \"-\" for standard output, \"\" for none.",
	}
}
