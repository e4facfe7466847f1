"""The keys that players' tokens are signed with: how they follow one another, and who asks."""
