// Plain values as bytes and back, for what processes of one run tell each other. They have one byte
// order and one program version, which the exchange has checked.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace kvhaul::verbs {

template <class T>
void put(std::string& out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// Takes a value from the front; false, and nothing taken, when the bytes do not suffice.
template <class T>
bool take(std::string_view& in, T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (in.size() < sizeof value) return false;
  std::memcpy(&value, in.data(), sizeof value);
  in.remove_prefix(sizeof value);
  return true;
}

}  // namespace kvhaul::verbs
