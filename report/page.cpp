#include "report/page.h"

#include <nlohmann/json.hpp>

#include "report/assets.h"
#include "traces/output_file.h"

namespace kvhaul::report {
namespace {

/// JSON that may stand in a script element: '<' can only be in a string, and is escaped there.
std::string script_json(const nlohmann::ordered_json& data) {
  // Names of files may hold any bytes.
  const std::string plain =
      data.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::string out;
  out.reserve(plain.size());
  for (const char c : plain)
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  return out;
}

}  // namespace

std::string html_text(const std::string& text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  return out;
}

std::string page_text(const Page& page, const nlohmann::ordered_json& data) {
  std::string out;
  out.append("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
  out.append("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
  out.append("<meta name=\"color-scheme\" content=\"light dark\">\n<title>kvhaul: ");
  // An icon of its own, or the browser would ask for one.
  out.append(html_text(page.title)).append("</title>\n<link rel=\"icon\" href=\"data:,\">\n");
  out.append("<style>\n").append(style).append("</style>\n</head>\n<body>\n<header>\n<h1>");
  out.append(html_text(page.title)).append("</h1>\n<p id=\"sentence\">");
  out.append(html_text(page.sentence)).append("</p>\n<p id=\"facts\"></p>\n</header>\n");
  out.append("<noscript><p>The charts and tables of this report need JavaScript.</p></noscript>\n");
  out.append("<nav id=\"contents\" aria-label=\"Contents\"></nav>\n<main id=\"main\"></main>\n");
  out.append("<script type=\"application/json\" id=\"data\">").append(script_json(data));
  out.append("</script>\n");
  if (!d3.empty()) {
    out.append("<script>\n").append(d3).append("</script>\n");
    out.append("<script type=\"text/plain\" id=\"d3-licence\">\n").append(d3_licence);
    out.append("</script>\n");
  }
  out.append("<script>\n").append(script).append("</script>\n</body>\n</html>\n");
  return out;
}

Result<void> write_page(OutputFile file, const Page& page, const nlohmann::ordered_json& data) {
  file.text(page_text(page, data));
  return file.close();
}

}  // namespace kvhaul::report
