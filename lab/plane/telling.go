package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	infrav1 "sigs.k8s.io/cluster-api/test/infrastructure/docker/api/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// vagueMessage is what the in-memory provider writes in a condition in place
// of the error (cluster-api/test:
// infrastructure/docker/internal/controllers/backends/inmemory/inmemorymachine_backend.go).
const vagueMessage = "Please check controller logs for errors"

// tellingClient puts the reason why a VM was not created in its DevMachine's
// conditions, from where Cluster API carries it to the Machine, as vSphere's
// provider does.
type tellingClient struct {
	client.Client
	vms *vms
}

// Status wraps the writer of the status.
func (c *tellingClient) Status() client.SubResourceWriter {
	return tellingWriter{SubResourceWriter: c.Client.Status(), vms: c.vms}
}

type tellingWriter struct {
	client.SubResourceWriter
	vms *vms
}

// Patch replaces the vague message in a patch of a DevMachine's status.
func (w tellingWriter) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if _, ok := obj.(*infrav1.DevMachine); ok || kind == "DevMachine" {
		if why := w.vms.refusal(obj.GetName()); why != "" {
			data, err := patch.Data(obj)
			if err != nil {
				return fmt.Errorf("reading a patch of DevMachine %s: %w", obj.GetName(), err)
			}
			patch = client.RawPatch(patch.Type(), []byte(strings.ReplaceAll(string(data), vagueMessage, quoted(why))))
		}
	}
	return w.SubResourceWriter.Patch(ctx, obj, patch, opts...)
}

// quoted is the text as it stands inside a JSON string.
func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		return vagueMessage
	}
	return string(b[1 : len(b)-1])
}
