// What a tokenizer is made of, built from what its files say. Errors: TOKENIZER.
#pragma once

#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/piece_table.h"
#include "text/token_table.h"
#include "text/tokenizer_spec.h"

namespace diffulex::text {

// The added tokens of the spec with the special ones marked, and tokens of the vocabulary that only
// a config names as special.
std::vector<AddedToken> added_tokens(const TokenizerSpec& spec);

// By id. The added tokens of the spec are those of the function above.
std::vector<TokenTable::Entry> table_entries(const TokenizerSpec& spec);

Bpe make_bpe(const TokenizerSpec& spec, const TokenTable& tokens);

// The short tokens that come out when their text is a piece: nearly all of a vocabulary.
PieceTable make_whole_pieces(const TokenTable& tokens, const Bpe& bpe, bool ignore_merges);

}  // namespace diffulex::text
