package kubelet

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hostIP is the address of every Node.
const hostIP = "127.0.0.1"

// report writes a status if it says something new.
func (k *Pods) report(ctx context.Context, obj *corev1.Pod, status corev1.PodStatus) error {
	if equality.Semantic.DeepEqual(obj.Status, status) {
		return nil
	}
	after := obj.DeepCopy()
	after.Status = status
	// Without a test of the version: others write conditions of their own.
	err := k.client.Status().Patch(ctx, after, client.StrategicMergeFrom(obj))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status of a pod: %w", err)
	}
	return nil
}

// pulling is a pod whose image takes its time.
func pulling(p *corev1.Pod) corev1.PodStatus {
	s := begun(p)
	s.ContainerStatuses = waiting(p.Spec.Containers, "ContainerCreating", "")
	return s
}

// initializing is a pod whose init containers run.
func initializing(p *corev1.Pod) corev1.PodStatus {
	s := begun(p)
	set(&s, corev1.PodInitialized, corev1.ConditionFalse)
	s.InitContainerStatuses = nil
	for _, c := range p.Spec.InitContainers {
		s.InitContainerStatuses = append(s.InitContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Started: new(true),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: *s.StartTime}},
		})
	}
	s.ContainerStatuses = waiting(p.Spec.Containers, "PodInitializing", "")
	return s
}

// misconfigured is a pod that cannot start as it is declared.
func misconfigured(p *corev1.Pod, why *configError) corev1.PodStatus {
	s := begun(p)
	s.ContainerStatuses = waiting(p.Spec.Containers, "CreateContainerConfigError", why.problem)
	return s
}

// runningStatus is a pod whose containers run.
func runningStatus(obj *corev1.Pod, p *pod) corev1.PodStatus {
	s := begun(obj)
	s.Phase = corev1.PodRunning
	s.PodIP, s.PodIPs = p.ip, []corev1.PodIP{{IP: p.ip}}
	set(&s, corev1.PodInitialized, corev1.ConditionTrue)
	for i := range s.InitContainerStatuses {
		c := &s.InitContainerStatuses[i]
		if c.State.Terminated == nil {
			c.Ready, c.Started = true, new(false)
			c.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: *s.StartTime, FinishedAt: metav1.Now()}}
		}
	}
	ready := corev1.ConditionFalse
	if p.ready {
		ready = corev1.ConditionTrue
	}
	set(&s, corev1.ContainersReady, ready)
	set(&s, corev1.PodReady, ready)
	s.ContainerStatuses = make([]corev1.ContainerStatus, 0, len(obj.Spec.Containers))
	for i, c := range obj.Spec.Containers {
		st := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Ready: p.ready, Started: new(true), RestartCount: p.tries}
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: *s.StartTime}
		if i < len(p.tasks) {
			st.State.Running.StartedAt = metav1.NewTime(p.tasks[i].started.Truncate(1e9))
			if code, over := p.tasks[i].exit(); over {
				st.Ready, st.Started = false, new(false)
				st.State = corev1.ContainerState{Terminated: terminated(p.tasks[i], code, finishedAt(obj, i))}
			}
		}
		s.ContainerStatuses = append(s.ContainerStatuses, st)
	}
	return s
}

// endedStatus is a pod whose Ray container ended.
func endedStatus(obj *corev1.Pod, p *pod, code int, again bool) corev1.PodStatus {
	s := runningStatus(obj, p)
	set(&s, corev1.ContainersReady, corev1.ConditionFalse)
	set(&s, corev1.PodReady, corev1.ConditionFalse)
	for i := range s.ContainerStatuses {
		s.ContainerStatuses[i].Ready = false
		if s.ContainerStatuses[i].State.Terminated == nil && !again {
			// The sandbox takes its other containers along.
			s.ContainerStatuses[i].State = corev1.ContainerState{Terminated: terminated(p.tasks[i], 137, finishedAt(obj, i))}
		}
	}
	if !again {
		s.Phase = corev1.PodFailed
		if code == 0 {
			s.Phase = corev1.PodSucceeded
		}
	}
	return s
}

// begun is the status so far, with the pod accepted by its Node.
func begun(p *corev1.Pod) corev1.PodStatus {
	s := *p.Status.DeepCopy()
	if s.Phase == "" {
		s.Phase = corev1.PodPending
	}
	if s.StartTime == nil {
		s.StartTime = new(metav1.Now().Rfc3339Copy())
	}
	s.HostIP, s.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	return s
}

func waiting(containers []corev1.Container, reason, message string) []corev1.ContainerStatus {
	out := make([]corev1.ContainerStatus, 0, len(containers))
	for _, c := range containers {
		out = append(out, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Started: new(false),
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		})
	}
	return out
}

// set sets a condition and, if it changes, its time.
func set(s *corev1.PodStatus, kind corev1.PodConditionType, status corev1.ConditionStatus) {
	for i := range s.Conditions {
		if c := &s.Conditions[i]; c.Type == kind {
			if c.Status != status {
				c.Status, c.LastTransitionTime = status, metav1.Now().Rfc3339Copy()
			}
			return
		}
	}
	s.Conditions = append(s.Conditions, corev1.PodCondition{Type: kind, Status: status, LastTransitionTime: metav1.Now().Rfc3339Copy()})
}

// exit is the code of a container that has ended.
func (r *running) exit() (code int, over bool) {
	select {
	case <-r.task.Exited():
		return r.task.Code(), true
	default:
		return 0, false
	}
}

func terminated(r *running, code int, at metav1.Time) *corev1.ContainerStateTerminated {
	reason := "Error"
	if code == 0 {
		reason = "Completed"
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, //nolint:gosec // An exit code.
		StartedAt: metav1.NewTime(r.started.Truncate(1e9)), FinishedAt: at,
	}
}

// finishedAt keeps the time of an end that was reported before.
func finishedAt(p *corev1.Pod, i int) metav1.Time {
	if i < len(p.Status.ContainerStatuses) {
		if t := p.Status.ContainerStatuses[i].State.Terminated; t != nil {
			return t.FinishedAt
		}
	}
	return metav1.Now().Rfc3339Copy()
}
