package config

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParsePrice(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1_000_000, "2.50": 2_500_000, "0.000001": 1, "00.1": 100_000, "0.1": 100_000,
		"0.29": 290_000, "9223372036853.999999": 9223372036853999999,
	} {
		got, err := ParsePrice(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, want := range map[string]string{
		"": "want a decimal", ".": "want a decimal", ".5": "want a decimal", "1.": "want a decimal", "-1": "want a decimal",
		"+1": "want a decimal", "1e3": "want a decimal", "1_000": "want a decimal", "0x1": "want a decimal", "1,5": "want a decimal",
		"1.2.3": "want a decimal", "NaN": "want a decimal", "Inf": "want a decimal", "٣": "want a decimal",
		"1.0000001": "more than 6 digits", "9223372036854": "too large", strings.Repeat("9", 400): "too large",
	} {
		_, err := ParsePrice(text)
		assert.ErrorContains(t, err, want, text)
	}
}

func TestParsePriceIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Int64Range(0, math.MaxInt64-2*microPerUnit).Draw(t, "micro")
		got, err := ParsePrice(fmt.Sprintf("%d.%06d", want/microPerUnit, want%microPerUnit))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})
}
