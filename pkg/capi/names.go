package capi

import clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

// The Cluster Autoscaler's capacity hints on a MachineDeployment
// (kubernetes/autoscaler:
// cluster-autoscaler/cloudprovider/clusterapi/clusterapi_utils.go).
const (
	capacityPrefix       = "capacity.cluster-autoscaler.kubernetes.io/"
	annotationCPU        = capacityPrefix + "cpu"
	annotationMemory     = capacityPrefix + "memory"
	annotationDisk       = capacityPrefix + "ephemeral-disk"
	annotationMaxPods    = capacityPrefix + "maxPods"
	annotationGPUCount   = capacityPrefix + "gpu-count"
	annotationGPUType    = capacityPrefix + "gpu-type"
	annotationLabels     = capacityPrefix + "labels"
	annotationTaints     = capacityPrefix + "taints"
	startupTaintPrefix   = "startup-taint.cluster-autoscaler.kubernetes.io/"
	ignoreTaintPrefix    = "ignore-taint.cluster-autoscaler.kubernetes.io/"
	scalerDeletionTaint  = "ToBeDeletedByClusterAutoscaler"
	scalerCandidateTaint = "DeletionCandidateOfClusterAutoscaler"
)

// What a pod says about being disturbed (same repository: FAQ.md, and
// kubernetes-sigs/karpenter: pkg/apis/v1/labels.go).
const (
	annotationSafeToEvict  = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	annotationSafeVolumes  = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
	annotationDoNotDisrupt = "karpenter.sh/do-not-disrupt"
	annotationNodeKeep     = "cluster-autoscaler.kubernetes.io/scale-down-disabled" // on a Node
)

// Labels that KubeRay puts on Ray pods
// (ray-project/kuberay: ray-operator/controllers/ray/utils/constant.go).
const (
	labelRayCluster  = "ray.io/cluster"
	labelRayGroup    = "ray.io/group"
	labelRayNodeType = "ray.io/node-type"
	kindRayCluster   = "RayCluster"
	labelRayReplica  = "ray.io/worker-group-replica-name"
	rayNodeTypeHead  = "head"
)

// What the coordinator itself writes and reads; the taint of a cordon is
// planner.CordonTaint, that of a node which should empty planner.SoftTaintKey.
const (
	// HookAnnotation on a Machine makes Cluster API wait before it drains the
	// Node of a Machine that somebody deletes, until the annotation is gone.
	HookAnnotation = clusterv1.PreDrainDeleteHookAnnotationPrefix + "/tandem"
	// ReleaseAnnotation on a Machine is a person's order to let go of it
	// whatever is on it. Any value but "false" counts.
	ReleaseAnnotation = "tandem-autoscaler.io/release"
	// PausedAnnotation on a MachineDeployment pauses that group, on a Cluster
	// everything. The value is free text that is shown; "false" does not pause.
	PausedAnnotation = "tandem-autoscaler.io/paused"
	// BackoffAnnotation on a MachineDeployment holds its rests after failed
	// growth, as a JSON list of planner.Backoff.
	BackoffAnnotation = "tandem-autoscaler.io/backoff"
	// DeleteMarkAnnotation on a Machine, beside Cluster API's
	// cluster.x-k8s.io/delete-machine, says that the delete mark is ours. Its
	// value has the form of [FormatMark].
	DeleteMarkAnnotation = "tandem-autoscaler.io/delete-mark"
	// VMClassAnnotation on a MachineDeployment, or on its infrastructure template
	// (metadata.annotations or spec.template.metadata.annotations), names the VM
	// class where the provider has no field for one.
	VMClassAnnotation = "tandem-autoscaler.io/vm-class"

	// PriorityAnnotation on a MachineDeployment is a whole number: nodes of those
	// with the highest one are bought first, whatever they cost. Left out: 0.
	PriorityAnnotation = "tandem-autoscaler.io/priority"
)

// groupSupervisor is the API group of the Supervisor flavour of Cluster API's
// vSphere provider: its VSphereMachineTemplate names a VM class
// (kubernetes-sigs/cluster-api-provider-vsphere: api/supervisor/v1beta2).
const groupSupervisor = "vmware.infrastructure.cluster.x-k8s.io"

// fieldOwner is the name under which the coordinator's writes appear in
// managedFields.
const fieldOwner = "tandem-coordinator"

// hookOwner is the value of the hook's annotation, for people.
const hookOwner = "tandem-coordinator"
