package gcs

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The kinds of failure of a call. Whatever the kind, the demand is unknown
// afterwards, not zero.
var (
	// ErrUnreachable: no answer in time.
	ErrUnreachable = errors.New("GCS unreachable")
	// ErrUnauthenticated: the GCS wants a token, or another one.
	ErrUnauthenticated = errors.New("GCS refuses the credentials")
	// ErrPassive: the GCS waits for its active peer to go, and serves nothing.
	ErrPassive = errors.New("GCS is passive")
	// ErrMalformed: what answered does not speak the protocol, or not well.
	ErrMalformed = errors.New("GCS answer malformed")
	// ErrUnsupported: this version of Ray has no such call.
	ErrUnsupported = errors.New("GCS does not know the call")
	// ErrRefused: the GCS answered with an error of its own.
	ErrRefused = errors.New("GCS refuses the call")
)

// Error is a failed call. It matches one of the kinds above with [errors.Is].
type Error struct {
	Op      string // what was being done, such as "reading the cluster resource state"
	Address string
	Kind    error
	Cause   error
}

// Error says what failed, why, and what to do about it.
func (e *Error) Error() string {
	return fmt.Sprintf("%s of GCS %s: %v: %v; %s", e.Op, e.Address, e.Kind, e.Cause, advice(e.Kind))
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }

func advice(kind error) string {
	switch {
	case errors.Is(kind, ErrUnreachable):
		return "check that the head pod is ready, that network policies let the coordinator reach it, and that both sides agree on TLS"
	case errors.Is(kind, ErrUnauthenticated):
		return "give the cluster's token in rayClusters.credentials[].tokenFile"
	case errors.Is(kind, ErrPassive):
		return "nothing to do while the active head serves"
	case errors.Is(kind, ErrMalformed):
		return "check that the head's port is that of its GCS (rayStartParams.port)"
	case errors.Is(kind, ErrUnsupported):
		return "use Ray 2.49 or newer"
	default:
		return "see the log of gcs_server in the head pod"
	}
}

func (c *Client) failed(op string, kind, cause error) *Error {
	return &Error{Op: op, Address: c.address, Kind: kind, Cause: cause}
}

// classified turns what grpc reports into an Error. The text comes from the
// other side, which belongs to a tenant, so it is clipped and quoted.
func (c *Client) classified(op string, err error) *Error {
	s := status.Convert(err)
	// Only the code and a clipped text are kept: the full one may be as long as
	// the other side likes.
	return c.failed(op, kindOf(s), fmt.Errorf("%s %q", s.Code(), clip(s.Message())))
}

func kindOf(s *status.Status) error {
	// Ray's own errors come as ABORTED with Ray's name of the error in the text
	// (ray: src/ray/rpc/common.h).
	if strings.Contains(s.Message(), "GcsPassive") {
		return ErrPassive
	}
	switch s.Code() { //nolint:exhaustive // every other code is an answer of the GCS itself
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return ErrUnreachable
	case codes.Unauthenticated, codes.PermissionDenied:
		return ErrUnauthenticated
	case codes.Internal, codes.ResourceExhausted, codes.DataLoss, codes.Unknown:
		return ErrMalformed
	case codes.Unimplemented:
		return ErrUnsupported
	default:
		return ErrRefused
	}
}

// clip shortens a text of the other side to what a log line bears.
func clip(s string) string {
	const limit = 253
	if len(s) <= limit {
		return s
	}
	s = s[:limit]
	for s != "" && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}
