package rayv2

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestThrottle(t *testing.T) {
	for name, tc := range map[string]struct {
		in   ThrottleInput
		want []Launch
	}{
		"nothing queued": {ThrottleInput{UpscalingSpeed: 1, MaxConcurrentLaunches: 10}, nil},
		"as many again as are running": {
			ThrottleInput{Types: []TypeLoad{{"a", 9, 3}}, UpscalingSpeed: 1, MaxConcurrentLaunches: 10},
			[]Launch{{"a", 3}},
		},
		"one without any running": {
			ThrottleInput{Types: []TypeLoad{{"a", 9, 0}}, UpscalingSpeed: 1, MaxConcurrentLaunches: 10},
			[]Launch{{"a", 1}},
		},
		"speed is rounded up": {
			ThrottleInput{Types: []TypeLoad{{"a", 9, 3}}, UpscalingSpeed: 1.5, MaxConcurrentLaunches: 10},
			[]Launch{{"a", 5}},
		},
		"speed of zero still launches one": {
			ThrottleInput{Types: []TypeLoad{{"a", 9, 3}}, MaxConcurrentLaunches: 10},
			[]Launch{{"a", 1}},
		},
		"no more than are queued": {
			ThrottleInput{Types: []TypeLoad{{"a", 2, 0}}, UpscalingSpeed: 1000, MaxConcurrentLaunches: 10},
			[]Launch{{"a", 2}},
		},
		"the types share the limit in order": {
			ThrottleInput{Types: []TypeLoad{{"b", 6, 0}, {"a", 6, 0}, {"c", 6, 0}}, Requested: 1, UpscalingSpeed: 1000, MaxConcurrentLaunches: 10},
			[]Launch{{"b", 6}, {"a", 3}},
		},
		"all in flight": {
			ThrottleInput{Types: []TypeLoad{{"a", 6, 0}}, Requested: 12, UpscalingSpeed: 1000, MaxConcurrentLaunches: 10},
			nil,
		},
		"absurd numbers": {
			ThrottleInput{Types: []TypeLoad{{"a", math.MaxInt64, math.MaxInt64}, {"b", -1, -1}}, UpscalingSpeed: math.Inf(1), MaxConcurrentLaunches: 10},
			[]Launch{{"a", 10}},
		},
		"speed is not a number": {
			ThrottleInput{Types: []TypeLoad{{"a", 5, 5}}, UpscalingSpeed: math.NaN(), MaxConcurrentLaunches: 10},
			[]Launch{{"a", 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, Throttle(tc.in))
		})
	}
}
