// What every error about something a person wrote has to be.
#pragma once

#include "core/result.h"

namespace kvhaul {

/// One line that a terminal can show and somebody can read.
inline void check_error(const Error& error) {
  check(error.kind == ErrorKind::bad_input, "bad input is called that");
  check(!error.message.empty() && error.message.size() < 1000, "an error is one short line");
  for (const char c : error.message)
    check(static_cast<unsigned char>(c) >= 0x20 && c != '\x7f', "an error is printable");
}

}  // namespace kvhaul
