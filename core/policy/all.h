// The one list of policies.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "core/policy/least_finish.h"
#include "core/policy/near_random.h"
#include "core/policy/one_shot.h"
#include "core/policy/round_robin.h"

namespace kvhaul {

using AnyPolicy = std::variant<LeastFinish, RoundRobin, NearRandom, OneShot>;

struct PolicyName {
  std::string_view name;
  std::string_view summary;
};

namespace detail {
template <std::size_t... Index>
constexpr auto policy_names(std::index_sequence<Index...>) {
  return std::array{PolicyName{std::variant_alternative_t<Index, AnyPolicy>::name,
                               std::variant_alternative_t<Index, AnyPolicy>::summary}...};
}

template <std::size_t... Index>
std::optional<AnyPolicy> make_policy(const SchedulerSetup& setup, std::index_sequence<Index...>) {
  std::optional<AnyPolicy> made;
  (void)((std::variant_alternative_t<Index, AnyPolicy>::name == setup.config.policy &&
          (made.emplace(std::in_place_index<Index>, setup), true)) ||
         ...);
  return made;
}
using PolicyIndices = std::make_index_sequence<std::variant_size_v<AnyPolicy>>;
}  // namespace detail

inline constexpr auto all_policies = detail::policy_names(detail::PolicyIndices{});

/// The policy that the setup names, or nothing when there is none of that name.
inline std::optional<AnyPolicy> make_policy(const SchedulerSetup& setup) {
  return detail::make_policy(setup, detail::PolicyIndices{});
}

}  // namespace kvhaul
