#include "cli/shell_help.h"

#include <algorithm>

#include "cli/backends.h"
#include "cli/version.h"
#include "core/policy/all.h"
#include "scenarios/scenario.h"
#include "traces/trace.h"

namespace kvhaul::cli {
namespace {

using Option = CommandHelp::Option;

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::vector<std::string> first_words(const std::vector<CommandHelp>& commands) {
  std::vector<std::string> words;
  for (const CommandHelp& command : commands) {
    const std::string word = command.name.substr(0, command.name.find(' '));
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  return words;
}

/// The actions of a command that has some: "generate" of "trace generate".
std::vector<std::string> actions_of(const std::vector<CommandHelp>& commands,
                                    const std::string& word) {
  std::vector<std::string> actions;
  for (const CommandHelp& command : commands)
    if (command.name.starts_with(word + " "))
      actions.push_back(command.name.substr(word.size() + 1));
  return actions;
}

std::string summary_of(const std::string& word) {
  for (const Command& command : commands())
    if (command.name == word) return std::string(command.summary);
  return "";
}

std::vector<std::string> spellings(const Option& option) {
  std::vector<std::string> words = {"--" + option.name};
  if (!option.letter.empty()) words.push_back(std::string("-").append(option.letter));
  return words;
}

/// Single-quoted for a shell; `also` are characters that need a backslash inside.
std::string quoted(const std::string& text, const std::string& also = "") {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (also.find(c) != std::string::npos) out += '\\';
    out += c;
  }
  return out + "'";
}

/// Text for troff: hyphens that are to be copied, and no line that is taken for a request.
std::string roff(const std::string& text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

}  // namespace

std::vector<std::string> option_values(const std::string& option) {
  std::vector<std::string> words;
  if (option == "scenario")
    for (const BuiltinScenario& scenario : builtin_scenarios()) words.emplace_back(scenario.name);
  if (option == "policy")
    for (const PolicyName& policy : all_policies) words.emplace_back(policy.name);
  if (option == "backend")
    for (const BackendEntry& backend : backends()) words.emplace_back(backend.name);
  if (option == "format")
    for (std::size_t i = 0; i < trace_format_count; ++i)
      words.emplace_back(trace_format_name(static_cast<TraceFormat>(i)));
  if (option == "streaming")
    for (const Streaming streaming :
         {Streaming::request, Streaming::chunk, Streaming::layer, Streaming::chunk_layer})
      words.emplace_back(streaming_name(streaming));
  if (option == "direction") words = {"push", "pull"};
  if (option == "time") words = {"virtual", "real"};
  if (option == "payload") words = {"none", "real"};
  return words;
}

std::string bash_completion(const std::vector<CommandHelp>& commands) {
  std::string out =
      "# Completion of kvhaul for bash; made by 'kvhaul completion bash'.\n"
      "_kvhaul() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  local command=${COMP_WORDS[1]} action=${COMP_WORDS[2]} options=''\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W '" +
      joined(first_words(commands)) +
      " --help --version' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case $command in\n";
  for (const std::string& word : first_words(commands)) {
    const std::vector<std::string> actions = actions_of(commands, word);
    if (actions.empty()) continue;
    out += "    " + word +
           ")\n      if ((COMP_CWORD == 2)); then\n        COMPREPLY=($(compgen -W '" +
           joined(actions) +
           " --help' -- \"$word\"))\n        return\n      fi\n      command+=\" $action\" ;;\n";
  }
  out += "  esac\n  case $command in\n";
  std::vector<std::string> listed, files;
  for (const CommandHelp& command : commands) {
    std::vector<std::string> words;
    for (const Option& option : command.options)
      for (const std::string& spelling : spellings(option)) {
        words.push_back(spelling);
        if (!option.takes_value) continue;
        std::vector<std::string>& list = option_values(option.name).empty() ? files : listed;
        if (std::find(list.begin(), list.end(), spelling) == list.end()) list.push_back(spelling);
      }
    out += "    '" + command.name + "') options='" + joined(words) + "' ;;\n";
  }
  out += "  esac\n  case $before in\n";
  for (const std::string& spelling : listed) {
    // A letter means the same in every command that has it.
    std::string name = spelling.substr(spelling.find_first_not_of('-'));
    for (const CommandHelp& command : commands)
      for (const Option& option : command.options)
        if (!option.letter.empty() && spelling == std::string("-").append(option.letter))
          name = option.name;
    out += "    " + spelling + ") COMPREPLY=($(compgen -W '" + joined(option_values(name)) +
           "' -- \"$word\")" + (name == "scenario" ? " $(compgen -f -- \"$word\")" : "") +
           ")\n      return ;;\n";
  }
  std::string alternatives;
  for (const std::string& spelling : files)
    alternatives += (alternatives.empty() ? "" : "|") + spelling;
  out += "    " + alternatives +
         ") COMPREPLY=($(compgen -f -- \"$word\"))\n      return ;;\n"
         "  esac\n"
         "  if [[ $word == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
         "    [[ $command == scenario* ]] && COMPREPLY+=($(compgen -W '" +
         joined(option_values("scenario")) +
         "' -- \"$word\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _kvhaul kvhaul\n";
  return out;
}

std::string zsh_completion(const std::vector<CommandHelp>& commands) {
  std::string out =
      "#compdef kvhaul\n"
      "# Completion of kvhaul for zsh; made by 'kvhaul completion zsh'.\n"
      "_kvhaul() {\n"
      "  local -a words_of_kvhaul\n"
      "  local command=$words[2]\n"
      "  if ((CURRENT == 2)); then\n"
      "    words_of_kvhaul=(\n";
  for (const std::string& word : first_words(commands))
    out += "      " + quoted(word + ":" + summary_of(word)) + "\n";
  out +=
      "    )\n"
      "    _describe 'command' words_of_kvhaul\n"
      "    return\n"
      "  fi\n"
      "  case $command in\n";
  for (const std::string& word : first_words(commands)) {
    const std::vector<std::string> actions = actions_of(commands, word);
    if (actions.empty()) continue;
    out += "    " + word + ")\n      if ((CURRENT == 3)); then\n        words_of_kvhaul=(" +
           joined(actions) +
           ")\n        _describe 'action' words_of_kvhaul\n        return\n      fi\n"
           "      command+=\" $words[3]\"\n      shift words\n      ((CURRENT--)) ;;\n";
  }
  out += "  esac\n  shift words\n  ((CURRENT--))\n  case $command in\n";
  for (const CommandHelp& command : commands) {
    out += "    " + quoted(command.name) + ")\n      _arguments";
    for (const Option& option : command.options) {
      std::string values;
      if (option.takes_value) {
        const std::vector<std::string> words = option_values(option.name);
        values = ":" + option.name + ":";
        values += words.empty() ? "_files" : std::string("(").append(joined(words)).append(")");
      }
      for (const std::string& spelling : spellings(option))
        out += " \\\n        " + quoted("*" + spelling) + "'['" + quoted(option.text, "[]:\\") +
               "']'" + quoted(values);
    }
    out += " \\\n        '*:file:_files' ;;\n";
  }
  return out + "  esac\n}\n_kvhaul \"$@\"\n";
}

std::string man_page(const std::vector<CommandHelp>& commands) {
  std::string out =
      ".\\\" Made by 'kvhaul man' from the options that --help shows.\n.TH KVHAUL 1 \"\" "
      "\"kvhaul " +
      std::string(version) +
      "\" \"User Commands\"\n.SH NAME\nkvhaul \\- one transfer scheduler for KV caches, on "
      "real and on simulated links\n.SH SYNOPSIS\n.B kvhaul\n.I command\n[options]\n"
      ".SH DESCRIPTION\n"
      "Moves KV caches between the GPUs that compute a prompt and those that generate the "
      "tokens, on real and on simulated links; replays request traces and says what the "
      "transfers cost.\n";
  out += ".SH COMMANDS\n";
  for (const CommandHelp& command : commands) {
    out += ".SS " + roff("kvhaul " + command.name) + "\n.B " +
           roff("kvhaul " + command.name + " ") + "\\fR" + roff(command.usage) + "\n.PP\n" +
           roff(command.what) + "\n";
    std::string group = command.options.front().group;
    for (const Option& option : command.options) {
      if (option.group != group) out += ".PP\n.I " + roff(option.group) + "\n";
      group = option.group;
      out += ".TP\n.B ";
      if (!option.letter.empty())
        out += roff(std::string("-").append(option.letter)) + "\\fR, \\fB";
      out += roff("--" + option.name);
      if (option.takes_value) out += "\\fR \\fIvalue";
      out += "\\fR\n" + roff(option.text) + "\n";
    }
    for (const auto& [line, what] : command.examples)
      out += ".PP\nExample: " + roff(what) + ":\n.PP\n.nf\n.RS\n" + roff(line) + "\n.RE\n.fi\n";
  }
  out +=
      ".SH EXIT STATUS\n.TP\n0\nsuccess\n.TP\n1\nit ran, but transfers failed or a check fell "
      "short\n"
      ".TP\n2\nbad usage or input\n.TP\n3\nthis machine lacks what was asked\n"
      ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nnot empty: no colours; there are none off a terminal "
      "either\n";
  return out;
}

}  // namespace kvhaul::cli
