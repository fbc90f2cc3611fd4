// Numbers as Python writes, reads and divides them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace diffulex::jinja {

// The shortest digits that read back as the same number: "1.0", "1e-05", "inf", "nan".
std::string format_real(double value);

// As int(text) and float(text): spaces around, a sign and single '_' between digits are fine.
// Nothing: no such number. An integer that takes more than 64 bits is an error.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_real(std::string_view text);

// Errors: a result of more than 64 bits, division by zero.
int64_t add_integers(int64_t a, int64_t b);
int64_t subtract_integers(int64_t a, int64_t b);
int64_t multiply_integers(int64_t a, int64_t b);
int64_t floor_divide(int64_t a, int64_t b);
int64_t modulo(int64_t a, int64_t b);           // has the sign of b
int64_t power(int64_t base, int64_t exponent);  // exponent >= 0
double floor_divide(double a, double b);
double modulo(double a, double b);

// Half to even, by the exact value of the number. digits: 0 to 300.
double round_real(double value, int digits);

// Towards zero. Errors: no finite number, more than 64 bits.
int64_t truncate(double value);

}  // namespace diffulex::jinja
