package planner_test

import (
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func testPolicy() planner.Policy {
	return planner.Policy{
		VacantHold:        planner.Duration(time.Minute),
		ProvisionDeadline: planner.Duration(15 * time.Minute),
		BackoffInitial:    planner.Duration(5 * time.Minute),
		BackoffMax:        planner.Duration(30 * time.Minute),
	}
}
