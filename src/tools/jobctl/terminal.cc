// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace jobctl {

bool CanPaint() {
  if (isatty(STDOUT_FILENO) != 1) return false;
  const char* const term = getenv("TERM");
  return term != nullptr && *term != '\0' && std::string_view(term) != "dumb";
}

bool WantsColor() {
  const char* const no = getenv("NO_COLOR");
  return no == nullptr || *no == '\0';
}

bool ShowsUtf8() {
  const locale_t locale = newlocale(LC_CTYPE_MASK, "", nullptr);  // the process as a whole stays in "C"
  if (locale == nullptr) return false;
  const bool utf8 = std::string_view(nl_langinfo_l(CODESET, locale)) == "UTF-8";
  freelocale(locale);
  return utf8;
}

WindowSize Window() {
  WindowSize result;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return result;
  if (size.ws_col > 0) result.columns = size.ws_col;
  if (size.ws_row > 0) result.rows = size.ws_row;
  return result;
}

bool InForeground(int fd) {
  const pid_t group = tcgetpgrp(fd);
  return group < 0 || group == getpgrp();
}

}  // namespace jobctl
