// For readers of files, not for their users: strict reading of fields, and the one form of errors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "core/unit_text.h"
#include "core/units.h"

namespace kvhaul {

/// A line or a JSON object may not be longer: a file without line ends must not fill the memory.
/// (A million tokens in 16-token blocks are 700 KB of ids.)
inline constexpr std::size_t trace_record_bytes_max = 8 * MiB;

/// Digits only, at most trace_tokens_max.
std::optional<std::uint32_t> parse_tokens(std::string_view text);
/// Digits only.
std::optional<std::uint64_t> parse_whole(std::string_view text);
/// A finite number from 0 up, as Python and C print it.
std::optional<double> parse_number(std::string_view text);
/// "61.114": exact to the nanosecond, further digits rounded. Also "1e-05", through a double.
std::optional<TimeNs> parse_seconds(std::string_view text);
/// The same with another unit: s_ns, ms_ns, us_ns or 1. At most 9e18 ns.
std::optional<TimeNs> parse_time(std::string_view text, TimeNs unit_ns);
/// ISO 8601: "2023-11-16 18:17:03" or with a T between, then up to nine digits of fraction, then Z
/// or an offset such as "+00:00", "+0000" or "+00"; both may be missing. Since 1970 in UTC.
std::optional<TimeNs> parse_datetime(std::string_view text);

/// "FILE:LINE: expected WHAT, found 'FOUND'"
Error expected_at(std::string_view file, std::uint64_t line, std::string_view what,
                  std::string_view found);
/// The same where nothing can be quoted: "..., found FOUND".
Error expected_not(std::string_view file, std::uint64_t line, std::string_view what,
                   std::string_view found);

}  // namespace kvhaul
