"""Whether a pruned model's folder is what it says, file by file and tensor by tensor; it is never changed here."""
