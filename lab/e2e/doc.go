// Package e2e holds the end-to-end tests: each runs one scenario of
// lab/scenarios on a lab of its own, with real Ray and the real coordinator.
// They need the build tag e2e and the programs under test:
//
//	LAB_BINARY=bin/lab COORDINATOR_BINARY=bin/coordinator go test -tags e2e -timeout 60m ./e2e
//
// LAB_VENV names the Python environment with Ray if it is not .venv of the
// repository; LAB_REPORTS a directory in which the reports are kept.
package e2e
