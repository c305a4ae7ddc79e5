// Expected failures are values. A function that can fail returns Result<T>; the caller must look.
//
//   Result<Cluster> cluster = load_cluster(path);
//   if (!cluster) return cluster.error();
//   use(*cluster);
//
// An Error is logged once, where it is decided what to do about it. Broken assumptions of our own
// are not errors: they go through check(), which stays on in every build. User input never reaches
// check().
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace kvhaul {

/// Grouped by what the caller has to do about it; the numbers are the exit codes of the program.
enum class ErrorKind {
  failed = 1,     ///< it was tried and went wrong (a disk filled up, a check fell short)
  bad_input = 2,  ///< fix the call or the file: the message names file, line, what was expected
  missing = 3,    ///< this machine lacks what was asked; the message says what exactly
};

struct [[nodiscard]] Error {
  ErrorKind kind = ErrorKind::failed;
  std::string message;

  static Error failed(std::string message) { return {ErrorKind::failed, std::move(message)}; }
  static Error bad_input(std::string message) { return {ErrorKind::bad_input, std::move(message)}; }
  static Error missing(std::string message) { return {ErrorKind::missing, std::move(message)}; }
};

/// Stops the program with a message when one of our own assumptions does not hold.
inline void check(bool holds, const char* what) {
  if (holds) [[likely]]
    return;
  std::fprintf(stderr, "kvhaul: internal error: %s\n", what);
  std::abort();
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : value_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return value_.index() == 0; }
  T& operator*() { return get(); }
  const T& operator*() const { return const_cast<Result*>(this)->get(); }
  T* operator->() { return &get(); }
  const T* operator->() const { return &const_cast<Result*>(this)->get(); }
  const Error& error() const {
    check(value_.index() == 1, "Result::error() without an error");
    return *std::get_if<1>(&value_);
  }

 private:
  T& get() {
    check(value_.index() == 0, "Result read without looking for its error");
    return *std::get_if<0>(&value_);
  }
  std::variant<T, Error> value_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_.has_value(); }
  const Error& error() const {
    check(error_.has_value(), "Result::error() without an error");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace kvhaul
