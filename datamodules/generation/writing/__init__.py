"""Writers: pieces -> MIDI bytes, MusicXML or ABC text, samples. No files are written."""
