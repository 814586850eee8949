//go:build tools

// Package tools pins the version of kwok that plays the hollow nodes.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
