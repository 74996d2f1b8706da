package scenario

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

// tokenFile is where the coordinator finds the token of a RayCluster.
func (r *Run) tokenFile(c *RayCluster) string {
	return filepath.Join(r.o.Dir, "tokens", c.Namespace+"."+c.Name)
}

// prepareToken makes the token of a RayCluster with authentication: the Secret
// that KubeRay hands to the pods, and the file that the coordinator reads. Both
// exist before the coordinator starts.
func (r *Run) prepareToken(ctx context.Context, c *RayCluster) error {
	if !c.Token {
		return nil
	}
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	token := hex.EncodeToString(b)
	if err := r.ensureNamespace(ctx, c.Namespace); err != nil {
		return err
	}
	if err := r.o.Lab.Workload().Create(ctx, c.secret(token)); err != nil {
		return fmt.Errorf("creating the token of RayCluster %s: %w", c.key(), err)
	}
	if err := os.WriteFile(r.tokenFile(c), []byte(token), 0o600); err != nil {
		return fmt.Errorf("writing the token of RayCluster %s: %w", c.key(), err)
	}
	r.tokens[c.key()] = token
	return nil
}

func (r *Run) ensureNamespace(ctx context.Context, name string) error {
	if name == metav1.NamespaceDefault {
		return nil
	}
	err := r.o.Lab.Workload().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	return nil
}

// runRayCluster creates a RayCluster at its time and has its GCS read.
func (r *Run) runRayCluster(ctx context.Context, c *RayCluster) {
	if !wait(ctx, c.At.Duration) {
		return
	}
	object, err := c.object(r.o.Scenario.HeadPool)
	if err == nil {
		err = r.ensureNamespace(ctx, c.Namespace)
	}
	if err == nil {
		err = r.o.Lab.Workload().Create(ctx, object)
	}
	if err != nil {
		r.fail("creating RayCluster %s: %v", c.key(), err)
		return
	}
	r.wg.Go(func() { r.o.PollGCS(r.background, r.gcs(c), r.o.Recorder) })
}

func (r *Run) gcs(c *RayCluster) report.GCSTarget {
	return report.GCSTarget{
		RayCluster: c.key(), Token: r.tokens[c.key()],
		Address: func() (string, bool) { return r.o.Lab.RayAddress(c.Namespace, c.Name) },
	}
}

// runObject creates a raw object at its time.
func (r *Run) runObject(ctx context.Context, o *Object) {
	if !wait(ctx, o.At.Duration) {
		return
	}
	object, err := o.decode()
	if err != nil {
		r.fail("decoding an object: %v", err)
		return
	}
	if err := r.client(o.Cluster).Create(ctx, object); err != nil {
		r.fail("creating %s %s: %v", object.GetKind(), object.GetName(), err)
	}
}

func (r *Run) client(cluster string) client.Client {
	if cluster == clusterWorkload {
		return r.o.Lab.Workload()
	}
	return r.o.Lab.Management()
}

// rayCluster finds a RayCluster of the scenario by namespace/name.
func (s *Scenario) rayCluster(key string) *RayCluster {
	for i := range s.RayClusters {
		if s.RayClusters[i].key() == key {
			return &s.RayClusters[i]
		}
	}
	return nil
}
