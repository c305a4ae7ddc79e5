#include "cli/compare_report.h"

#include <cmath>

#include "cli/compare_figures.h"
#include "cli/terminal.h"
#include "core/unit_text.h"
#include "results/figures.h"

namespace kvhaul::cli {
namespace {

constexpr std::size_t columns_max = 80;

std::string signed_text(double value) {
  std::string text = number_text(value, 3);
  if (value > 0) text.insert(text.begin(), '+');
  return text;
}

std::string percent_text(double relative) { return signed_text(100 * relative) + "%"; }

std::string value_cell(const RunDirectory& run, const ComparedFigure& figure) {
  const auto value = run.maybe_number(figure.key);
  return value ? number_text(*value * figure.factor, 4) : "-";
}

std::string difference_cell(const RunDirectory& first, const RunDirectory& other,
                            const std::string& key) {
  const auto relative = relative_difference(first, other, key);
  if (!relative) return "-";
  if (*relative == 0) return "=";
  // Nobody sees it in the four digits beside it.
  constexpr double shown_min = 1e-4;
  return std::abs(*relative) < shown_min ? "<0.01%" : percent_text(*relative);
}

/// No longer than a line; of a name that is too long the end tells more than the beginning.
std::string clipped(const std::string& text, std::size_t columns) {
  if (text.size() <= columns) return text;
  return std::string("...").append(text, text.size() - columns + 3);
}

std::string header_text(const std::vector<ComparedRun>& runs) {
  std::string out;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const RunDirectory& run = runs[i].run;
    out += run_letter(i) + "  " + clipped(printable(run.path), columns_max - 3) + "\n";
    const auto label = [&](const char* key) { return printable(run.text(key)); };
    out += "   " +
           clipped(label("run.scenario") + ": " + label("run.model") + ", " + label("run.trace"),
                   columns_max - 3) +
           "\n";
    out += "   " +
           clipped(label("run.backend") + ", " + label("run.time") + " time; policy " +
                       label("run.policy") + ", streaming " + label("run.streaming"),
                   columns_max - 3) +
           "\n";
  }
  return out;
}

/// The first run with two others at a time, so that the table fits.
std::string table_text(const std::vector<ComparedRun>& runs) {
  constexpr std::size_t beside = 2;
  std::string out;
  for (std::size_t from = 1; from < runs.size(); from += beside) {
    const std::size_t to = std::min(from + beside, runs.size());
    std::vector<std::string> header = {"", run_letter(0)};
    for (std::size_t i = from; i < to; ++i) {
      header.push_back(run_letter(i));
      header.push_back(run_letter(i) + " to " + run_letter(0));
    }
    TextTable table(std::move(header));
    for (const ComparedFigure& figure : compared_figures()) {
      std::vector<std::string> row = {figure.label, value_cell(runs[0].run, figure)};
      for (std::size_t i = from; i < to; ++i) {
        row.push_back(value_cell(runs[i].run, figure));
        row.push_back(difference_cell(runs[0].run, runs[i].run, figure.key));
      }
      table.add(std::move(row));
    }
    out.append("\n").append(table.text());
  }
  return out;
}

std::string limits_text(const std::vector<ComparedRun>& runs) {
  std::string out = "\nlimits\n";
  for (std::size_t i = 0; i < runs.size(); ++i)
    out += wrapped(run_letter(i) + "  " + printable(runs[i].run.text("limit_sentence")), 3);
  return out;
}

/// Of the runs that had any.
std::string faults_text(const std::vector<ComparedRun>& runs) {
  std::string out;
  for (std::size_t i = 0; i < runs.size(); ++i)
    for (const std::string& fault : runs[i].run.faults)
      out += wrapped(run_letter(i) + "  " + printable(fault), 5);
  return out.empty() ? "" : "\nfaults\n" + out;
}

std::string why_text(const RunDirectory& first, const RunDirectory& other, std::size_t number) {
  const auto change = ttft_change(first, other);
  std::string out = run_letter(number) + ": ";
  if (!change) return wrapped(out + "in one of the two no request was completed.", 3);
  if (change->change_ms == 0) {
    out += "the mean time to first token is the same as in A; ";
  } else {
    out += "the mean time to first token is " + number_text(std::fabs(change->change_ms)) + " ms " +
           (change->change_ms < 0 ? "shorter" : "longer") + " than in A (" +
           percent_text(change->relative) + "), and what changed most in it is " +
           *change->component + " (" + signed_text(change->component_change_ms) + " ms); ";
  }
  const auto limit_of = [](const RunDirectory& run) {
    return run.limits.empty() ? "nothing" : printable(run.limits[0].label);
  };
  const std::string was = limit_of(first), is = limit_of(other);
  out += was == is ? "both are limited by " + is + "."
                   : "it is limited by " + is + ", A by " + was + ".";
  return wrapped(out, 3);
}

/// A line per difference; one that is long goes on below.
std::string differences_text(const ComparedRun& run, const std::string& name) {
  std::string out = wrapped(printable(differences_sentence(run, name)), 3);
  for (const RunDifference& difference : run.differences.all)
    out += wrapped("   " + printable(difference.what) + ": " + printable(difference.first) +
                       " in A, " + printable(difference.other) + " in " + name,
                   6);
  return out;
}

std::string count_of(std::size_t count, const char* what) {
  if (count == 0) return "";
  return std::string("; ").append(std::to_string(count)).append(" ").append(what);
}

std::string pairs_text(const TransferPairs& pairs, const std::string& name) {
  std::string out = "\n";
  out += wrapped(name + " against A, transfer by transfer (" + std::to_string(pairs.pairs) +
                     " pairs" + count_of(pairs.in_one_run_only, "in one run only") +
                     count_of(pairs.failed, "failed in a run") +
                     count_of(pairs.of_other_size, "moved other bytes") +
                     count_of(pairs.without_time, "took no time in A") + ")",
                 3);
  if (pairs.pairs == 0) return out;
  const auto percent = [](double value) { return number_text(100 * value) + "%"; };
  TextTable table({"   error of", "median", "p95", "max", "signed median"});
  const auto row = [&](const char* what, const ErrorSpread& error) {
    table.add({what, percent(error.median), percent(error.p95), percent(error.max),
               percent_text(error.signed_median)});
  };
  row("   duration", pairs.error);
  if (pairs.formula) row("   bytes / rate", pairs.formula->error);
  out += table.text();
  if (pairs.formula)
    out += wrapped("   bytes / rate: bytes x " + number_text(pairs.formula->share) + " / " +
                       number_text(pairs.formula->gbytes_per_s) + " GB/s, the share of " + name +
                       "'s bytes that crossed " + printable(pairs.formula->link) + " and its rate",
                   3);
  else
    out += wrapped("   bytes / rate is left out: " + printable(pairs.no_formula), 3);
  out += "   makespan " + percent_text(pairs.makespan_difference) + "\n";
  for (const TransferPair& pair : pairs.worst) {
    if (pair.difference == 0) break;
    out += wrapped((&pair == &pairs.worst[0] ? "   worst: request " : "          request ") +
                       std::to_string(pair.request) + ", prefill chunk " +
                       std::to_string(pair.prefill_chunk) + ": " + duration_text(pair.first_ns) +
                       " in A, " + duration_text(pair.second_ns) + " in " + name + " (" +
                       percent_text(pair.difference) + ")",
                   10);
  }
  return out;
}

}  // namespace

std::string differences_sentence(const ComparedRun& run, const std::string& name) {
  const RunDifferences& differences = run.differences;
  std::string out = name + ": ";
  out += differences.all.empty()
             ? "no difference to A in what was run"
             : counted(differences.all.size(), "difference") + " to A in what was run";
  if (differences.unknown.empty()) return out + (differences.all.empty() ? "." : ":");
  return out + ", as far as it is known: " + differences.unknown;
}

std::string compare_text(const std::vector<ComparedRun>& runs) {
  std::string out =
      header_text(runs) + table_text(runs) + limits_text(runs) + faults_text(runs) + "\nwhy\n";
  for (std::size_t i = 1; i < runs.size(); ++i) out += why_text(runs[0].run, runs[i].run, i);
  out += "\ndifferences\n";
  for (std::size_t i = 1; i < runs.size(); ++i) out += differences_text(runs[i], run_letter(i));
  for (std::size_t i = 1; i < runs.size(); ++i) {
    const TransferPairs& pairs = runs[i].pairs;
    if (pairs.obstacle.empty())
      out += pairs_text(pairs, run_letter(i));
    else
      out.append("\n")
          .append(run_letter(i))
          .append(" ")
          .append(pairs.obstacle)
          .append(" than A: no two transfers are the same\n");
  }
  return out;
}

}  // namespace kvhaul::cli
