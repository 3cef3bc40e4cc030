// SPDX-License-Identifier: Apache-2.0

#include "qmp/message_framer.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool IsPunctuation(char c) { return c == '{' || c == '}' || c == '[' || c == ']' || c == ':' || c == ','; }
bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20; }
// Bytes that no UTF-8 text has; clients send them to get a parser out of whatever it is in.
bool IsFlush(char c) { return static_cast<unsigned char>(c) >= 0xFE; }

}  // namespace

void MessageFramer::Feed(std::string_view bytes, Emit emit) {
  for (const char byte : bytes) Take(byte, emit);
}

void MessageFramer::Take(char byte, Emit emit) {
  // False: the byte has ended a token, or the skipping, without being part of it.
  if (!Continue(byte, emit)) Begin(byte, emit);
  if (text_.size() > limits_.bytes) {
    Fail("JSON token size limit exceeded", emit);
    state_ = State::kSkip;
  }
}

bool MessageFramer::Continue(char byte, Emit emit) {
  const auto go_on = [&](State next) {
    text_.push_back(byte);
    state_ = next;
    return true;
  };
  switch (state_) {
    case State::kBetween:
      return false;
    case State::kString:
      ContinueString(byte, emit);
      return true;
    case State::kEscape:
      ContinueEscape(byte, emit);
      return true;
    case State::kMinus:
      if (byte == '0') return go_on(State::kZero);
      if (IsDigit(byte)) return go_on(State::kInteger);
      break;
    case State::kPoint:
      if (IsDigit(byte)) return go_on(State::kFraction);
      break;
    case State::kExponent:
      if (byte == '+' || byte == '-') return go_on(State::kExponentSign);
      [[fallthrough]];
    case State::kExponentSign:
      if (IsDigit(byte)) return go_on(State::kExponentDigits);
      break;
    case State::kZero:
      if (IsDigit(byte)) break;
      [[fallthrough]];
    case State::kInteger:
      if (IsDigit(byte)) return go_on(State::kInteger);
      if (byte == '.') return go_on(State::kPoint);
      [[fallthrough]];
    case State::kFraction:
      if (IsDigit(byte)) return go_on(State::kFraction);
      if (byte == 'e' || byte == 'E') return go_on(State::kExponent);
      [[fallthrough]];
    case State::kExponentDigits:
      if (IsDigit(byte)) return go_on(State::kExponentDigits);
      EndToken(emit);
      return false;
    case State::kKeyword:
      if (IsLower(byte)) return go_on(State::kKeyword);
      EndKeyword(emit);
      return false;
    case State::kSkip:
      if (!IsControl(byte) && !IsPunctuation(byte) && !IsFlush(byte)) return true;
      state_ = State::kBetween;
      return false;
  }
  Stray(byte, emit);
  return true;
}

void MessageFramer::Begin(char byte, Emit emit) {
  if (IsSpace(byte)) return;
  token_begin_ = text_.size();
  if (byte == '"' || byte == '\'') {
    quote_ = byte;
    text_.push_back('"');
    state_ = State::kString;
    return;
  }
  if (IsPunctuation(byte)) {
    braces_ += byte == '{' ? 1 : byte == '}' ? -1 : 0;
    brackets_ += byte == '[' ? 1 : byte == ']' ? -1 : 0;
    text_.push_back(byte);
    EndToken(emit);
    return;
  }
  if (byte == '-') {
    state_ = State::kMinus;
  } else if (byte == '0') {
    state_ = State::kZero;
  } else if (IsDigit(byte)) {
    state_ = State::kInteger;
  } else if (IsLower(byte)) {
    state_ = State::kKeyword;
  } else {
    return Stray(byte, emit);
  }
  text_.push_back(byte);
}

void MessageFramer::ContinueString(char byte, Emit emit) {
  if (IsControl(byte) || IsFlush(byte)) return Stray(byte, emit);
  if (byte == quote_) {
    text_.push_back('"');
    return EndToken(emit);
  }
  if (byte == '\\') {
    state_ = State::kEscape;
    return;
  }
  if (byte == '"') text_.push_back('\\');
  text_.push_back(byte);
}

void MessageFramer::ContinueEscape(char byte, Emit emit) {
  if (IsControl(byte) || IsFlush(byte)) return Stray(byte, emit);
  if (byte != '\'') text_.push_back('\\');
  text_.push_back(byte);
  state_ = State::kString;
}

void MessageFramer::EndKeyword(Emit emit) {
  const std::string_view keyword = std::string_view(text_).substr(token_begin_);
  if (keyword != "true" && keyword != "false" && keyword != "null" && bad_keyword_.empty()) bad_keyword_ = keyword;
  EndToken(emit);
}

void MessageFramer::EndToken(Emit emit) {
  state_ = State::kBetween;
  ++tokens_;
  if (tokens_ > limits_.tokens) return Fail("JSON token count limit exceeded", emit);
  if (braces_ + brackets_ > limits_.depth) return Fail("JSON nesting depth limit exceeded", emit);
  // What goes together is separated where it has to be: 1 2 is not 12.
  text_.push_back(' ');
  const bool open = (braces_ > 0 || brackets_ > 0) && braces_ >= 0 && brackets_ >= 0;
  if (!open) EndValue(emit);
}

void MessageFramer::EndValue(Emit emit) {
  if (!bad_keyword_.empty()) return Fail(absl::StrCat("JSON parse error, invalid keyword '", bad_keyword_, "'"), emit);
  std::string text = std::move(text_);
  Reset();
  emit(std::move(text));
}

void MessageFramer::Stray(char byte, Emit emit) {
  const std::string stray = text_.substr(token_begin_) + byte;
  Fail(absl::StrCat("JSON parse error, stray '", stray, "'"), emit);
  state_ = State::kSkip;
}

void MessageFramer::Fail(const std::string& what, Emit emit) {
  Reset();
  emit(absl::InvalidArgumentError(what));
}

void MessageFramer::Reset() {
  state_ = State::kBetween;
  text_.clear();
  token_begin_ = tokens_ = 0;
  braces_ = brackets_ = 0;
  bad_keyword_.clear();
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
