// Values with units as text: "55.3 GB/s", "3.1 us", "4 MiB".
//
// Reading is strict: a number, optional space, a unit. A bare number is an error, so that nobody
// has to guess what 64 meant. Rates are decimal (KB/s, MB/s, GB/s, TB/s) or bits per second
// (Kb/s, Mb/s, Gb/s, Tb/s); sizes are binary (KiB, MiB, GiB, TiB) or decimal (KB, MB, GB, TB);
// durations are ns, us, ms, s, min, h; operations per second are GFLOPS, TFLOPS, PFLOPS. Writing
// picks the unit that keeps three digits readable.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

/// Errors of these are bad_input and say what was expected and what was found, without file
/// and line: the caller knows those and puts them in front.
Result<Bytes> parse_bytes(std::string_view text);
/// Bytes per second; always positive.
Result<double> parse_rate(std::string_view text);
Result<TimeNs> parse_duration(std::string_view text);
/// Floating-point operations per second; from 1 GFLOPS to 1,000,000 TFLOPS.
Result<double> parse_flops(std::string_view text);

std::string bytes_text(Bytes bytes);        // "4 MiB", "591 KiB", "47.1 TiB"
std::string rate_text(double bytes_per_s);  // "55.3 GB/s"
std::string duration_text(TimeNs time_ns);  // "3.1 us", "12.4 ms", "2 min 5 s", "1 h 2 min"
/// "1 chunk", "2 chunks".
std::string counted(std::uint64_t count, const std::string& what);
/// Seven significant digits at most, no exponent for the numbers people print; locale-free.
std::string number_text(double value, int significant_digits = 3);

/// What somebody wrote, for an error: the first `shown_max` bytes, everything that is not printable
/// ASCII escaped, because it goes to a terminal.
std::string printable(std::string_view found, std::size_t shown_max);
/// The same in quotes, 60 bytes of it.
std::string in_quotes(std::string_view found);

}  // namespace kvhaul
