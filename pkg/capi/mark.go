package capi

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// FormatMark writes a mark as "<plan id>.<unix seconds>". It refuses an id that
// does not make a valid value of a taint.
func FormatMark(m planner.Mark) (string, error) {
	s := m.PlanID + "." + strconv.FormatInt(m.At.Unix(), 10)
	if m.PlanID == "" || m.At.Unix() < 0 {
		return "", fmt.Errorf("mark %q has no plan id or no time", s)
	}
	if problems := validation.IsValidLabelValue(s); len(problems) > 0 {
		return "", fmt.Errorf("mark %q cannot be the value of a taint: %s", s, strings.Join(problems, "; "))
	}
	return s, nil
}

// ParseMark reads what [FormatMark] writes. Anything else was not written by a
// coordinator.
func ParseMark(s string) (planner.Mark, bool) {
	dot := strings.LastIndexByte(s, '.')
	if dot <= 0 {
		return planner.Mark{}, false
	}
	seconds, err := strconv.ParseInt(s[dot+1:], 10, 64)
	if err != nil || seconds < 0 || seconds > math.MaxInt32*int64(100) {
		return planner.Mark{}, false
	}
	return planner.Mark{PlanID: s[:dot], At: time.Unix(seconds, 0).UTC()}, true
}
