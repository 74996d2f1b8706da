package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// priceDigits is the number of digits after the point that a price keeps: the
// planner counts in millionths of the catalogue's unit per hour.
const priceDigits = 6

// microPerUnit is one unit of price in millionths.
const microPerUnit = 1_000_000

// ParsePrice reads a decimal such as "2.50" and returns it in millionths. It
// is exact: no sign, no exponent, at most six digits after the point, and
// nothing is rounded.
func ParsePrice(s string) (int64, error) {
	whole, fraction, point := strings.Cut(s, ".")
	if whole == "" || (point && fraction == "") || !digits(whole) || !digits(fraction) {
		return 0, errors.New("want a decimal such as 2.50")
	}
	if len(fraction) > priceDigits {
		return 0, fmt.Errorf("has more than %d digits after the point", priceDigits)
	}
	units, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || units > math.MaxInt64/microPerUnit-1 {
		return 0, errors.New("is too large")
	}
	micro, err := strconv.ParseInt((fraction + "000000")[:priceDigits], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading the digits after the point: %w", err)
	}
	return units*microPerUnit + micro, nil
}

// digits tells whether s has no other characters than 0 to 9.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
